"""Holm's correction, and the levels of the intervals that belong to it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats import multiple_comparisons
from c2d.core.errors import InputError


def test_holm_by_paper_and_pencil():
    # Sorted 0.01, 0.02, 0.03, times 3, 2, 1: 0.03, 0.04, 0.03 -> never falling: 0.03, 0.04, 0.04.
    assert multiple_comparisons.holm([0.03, None, 0.01, 0.02]) == pytest.approx([0.04, None, 0.03, 0.04])
    assert multiple_comparisons.holm([0.6, 0.7]) == [1.0, 1.0]
    assert multiple_comparisons.holm([0.2, None]) == [0.2, None]
    assert multiple_comparisons.holm([]) == []
    with pytest.raises(InputError, match=r"p value number 1 is 1\.5"):
        multiple_comparisons.holm([0.1, 1.5])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
@settings(max_examples=50, deadline=None)
def test_holm_lies_between_the_p_value_and_bonferroni_and_keeps_the_order(ps):
    adjusted = multiple_comparisons.holm(ps)
    pairs = [(p, q) for p, q in zip(ps, adjusted, strict=True) if p is not None and q is not None]
    assert [q is None for q in adjusted] == [p is None for p in ps]
    assert all(p <= q <= min(1, p * len(pairs)) + 1e-12 for p, q in pairs)
    assert [q for _, q in sorted(pairs)] == sorted(q for _, q in pairs)


def test_holm_steps_by_paper_and_pencil():
    """Sorted 0.01, 0.02, 0.03: 0.01 * 3 < 0.05, 0.02 * 2 < 0.05, 0.03 < 0.05, so levels 1 - 0.05 / 3, / 2 and / 1."""
    found = multiple_comparisons.holm_steps([0.03, None, 0.01, 0.02])
    assert [None if one is None else one.level for one in found] == [
        pytest.approx(0.95), None, pytest.approx(1 - 0.05 / 3), pytest.approx(0.975),
    ]  # fmt: skip
    # The first test that is not significant stops the descent: the rest keep its factor.
    stopped = [one.level for one in multiple_comparisons.holm_steps([0.01, 0.04, 0.045]) if one]
    assert stopped == pytest.approx([1 - 0.05 / 3, 0.975, 0.975])
    # Half of the error probability: p doubles.
    half = multiple_comparisons.holm_steps([0.01, 0.02], share=0.5)
    assert [(one.p, one.level) for one in half if one] == [
        (pytest.approx(0.04), pytest.approx(1 - 0.025 / 2)), (pytest.approx(0.04), pytest.approx(0.975)),
    ]  # fmt: skip


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from((1.0, 0.5, 3 / 7)))
@settings(max_examples=100, deadline=None)
def test_a_holm_level_rejects_exactly_the_adjusted_p_values_below_5_percent(ps, share):
    for p, one in zip(ps, multiple_comparisons.holm_steps(ps, share), strict=True):
        assert one is not None
        limit = 1 - one.level
        assert abs(p - limit) < 1e-9 or (p < limit) == (one.p < 0.05)
        assert one.level >= 0.95 - 1e-12
