"""Verdicts of lines and sentences, every combination of two lines."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest

from analysis.claims.claim_verdicts import VERDICTS, line_verdict, sentence_verdict
from analysis.claims.comparison_text import comparison_text
from analysis.spec.claim_sides import CellSide, side_of
from analysis.stats.contrasts.contrast_tests import ContrastTest


def interval(low: float, high: float, bound: float = 0.0) -> ContrastTest:
    """A test whose adjusted interval is that."""
    significant = low > bound or high < -bound
    return ContrastTest(0.01, 0.01 if significant else 0.5, significant, 0.95, low, high, low, high, 1)


@pytest.mark.parametrize(
    ("low", "high", "kind", "margin", "verdict"),
    [
        (0.1, 2, "more", None, "shown"),
        (0.1, 0.5, "more", 1.0, "shown"),
        (-2, -0.1, "more", 1.0, "contradicted"),
        (-0.9, 0.9, "more", 1.0, "no difference"),
        (-0.9, 0.9, "more", None, "open"),
        (-0.9, 1.1, "more", 1.0, "open"),
        (-0.9, 0.9, "same", 1.0, "shown"),
        (0.1, 0.9, "same", 1.0, "shown"),
        (0.1, 1.1, "same", 1.0, "open"),
        (1.1, 2, "same", 1.0, "contradicted"),
        (-2, -1.1, "same", 1.0, "contradicted"),
    ],
)
def test_the_verdict_of_a_line(
    low: float, high: float, kind: Literal["more", "same"], margin: float | None, verdict: str
) -> None:
    bound = margin or 0.0 if kind == "same" else 0.0
    assert line_verdict(interval(low, high, bound), kind, margin) == verdict


def test_without_a_test_a_line_is_open() -> None:
    assert line_verdict(None, "more", 1.0) == "open"


def test_a_sentence_is_shown_or_contradicted_only_if_its_logic_says_so() -> None:
    """All: shown if both are, contradicted if one is. Any: shown if one is, contradicted if both are."""
    for pair in itertools.product(VERDICTS, repeat=2):
        of_all, of_any = sentence_verdict(pair, False), sentence_verdict(pair, True)
        assert (of_all == "shown") == (set(pair) == {"shown"})
        assert (of_all == "contradicted") == ("contradicted" in pair)
        assert (of_any == "shown") == ("shown" in pair)
        assert (of_any == "contradicted") == (set(pair) == {"contradicted"})
        assert {of_all, of_any} <= set(pair)


@pytest.mark.parametrize(
    ("more", "less", "text"),
    [
        ({"m": "a", "s": "x"}, {"m": "b", "s": "x"}, "a − b, x"),
        ({"m": "a", "s": "x"}, {"m": "b", "s": "y"}, "a/x − b/y"),
        ({"gain": [{"m": "a", "s": "x"}, {"m": "b", "s": "x"}]}, {"gain": [{"m": "a", "s": "y"}, {"m": "b", "s": "y"}]},
         "(a − b, x) − (a − b, y)"),
        ({"m": "c", "s": "x"}, {"mean": [{"m": "a", "s": "x"}, {"m": "b", "s": "x"}]}, "c − mean(a, b), x"),
        ({"m": "a"}, {"m": "a"}, "a − a, a"),
        ({"m": "a + b"}, {"m": "c"}, "(a + b) − c"),
    ],
)  # fmt: skip
def test_shared_labels_are_written_once(more: dict[str, object], less: dict[str, object], text: str) -> None:
    def named(cell: CellSide) -> dict[str, str]:
        return dict(cell.labels)

    assert comparison_text(side_of(more), side_of(less), named) == text
