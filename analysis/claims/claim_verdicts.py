"""Verdicts: of a line from its adjusted interval, of a sentence from its lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from analysis.stats.contrasts.contrast_tests import ContrastTest

Verdict = Literal["shown", "contradicted", "no difference", "open", "not run"]
VERDICTS: tuple[Verdict, ...] = ("shown", "contradicted", "no difference", "open", "not run")
_OF_ALL: tuple[Verdict, ...] = ("contradicted", "no difference", "not run", "open", "shown")
"""A sentence of which all lines have to be shown has the first of these that a line has."""
_OF_ANY: tuple[Verdict, ...] = ("shown", "not run", "open", "no difference", "contradicted")


def line_verdict(test: ContrastTest | None, kind: Literal["more", "same"], margin: float | None) -> Verdict:
    """Return the verdict of a line that was run.

    Args:
        test: None where nothing measures the noise.
        kind: more: the contrast is claimed to be above 0; same: to be within the margin.
        margin: in the unit of the contrast.
    """
    if test is None:
        return "open"
    within = margin is not None and -margin < test.low and test.high < margin
    if kind == "same":
        return "contradicted" if test.significant else "shown" if within else "open"
    if test.significant:
        return "shown" if test.low + test.high > 0 else "contradicted"
    return "no difference" if within else "open"


def sentence_verdict(lines: Sequence[Verdict], of_any: bool) -> Verdict:
    """Return the verdict of a sentence.

    Args:
        lines: verdicts of its lines.
        of_any: whether one line that is shown is enough.
    """
    return next(verdict for verdict in (_OF_ANY if of_any else _OF_ALL) if verdict in lines)
