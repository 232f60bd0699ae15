"""Holm's correction and the bold rows of a column."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats import multiple_comparisons
from c2d.core.errors import InputError

value = st.one_of(st.integers(-4, 4).map(lambda v: v / 10), st.floats(-1, 1, allow_subnormal=False))


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


def seeds(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


BASE = seeds(0.300, 0.310, 0.305)


def test_the_best_row_alone_is_bold_when_it_is_ahead_of_all():
    rows = {"base": BASE, "kd": seeds(0.320, 0.331, 0.326), "worse": seeds(0.200, 0.211, 0.204)}
    found = multiple_comparisons.best_rows(rows, "higher")
    assert found.best == {"kd"}
    assert found.reason == "kd is ahead of all others (paired t, n = 3; Holm, p < 0.05)"
    assert multiple_comparisons.best_rows(rows, "lower").best == {"worse"}
    assert multiple_comparisons.best_rows(rows, "") == multiple_comparisons.BestRows(
        frozenset(), "nothing is bold: neither direction is better"
    )


def test_rows_that_cannot_be_told_from_the_best_are_bold_too():
    rows = {"base": BASE, "kd": seeds(0.320, 0.331, 0.326), "near": seeds(0.330, 0.320, 0.325)}
    found = multiple_comparisons.best_rows(rows, "higher")
    assert found.best == {"kd", "near"}
    assert "kd has the best mean; not distinguishable from it: 'near'" in found.reason
    same = multiple_comparisons.best_rows({"a": BASE, "b": dict(BASE)}, "higher")
    assert same.best == {"a", "b"}


def test_nothing_is_bold_where_no_test_is_possible():
    one_seed = {"base": seeds(0.30), "kd": seeds(0.35), "other": seeds(0.20)}
    found = multiple_comparisons.best_rows(one_seed, "higher")
    assert found.best == frozenset()
    assert "fewer than 2 seeds in common with kd, the best" in found.reason
    # Other seeds on each side: nothing can be paired.
    apart = {"base": {0: 0.3, 1: 0.31}, "kd": {2: 0.35, 3: 0.36}}
    assert multiple_comparisons.best_rows(apart, "higher").best == frozenset()
    shifted = {"base": BASE, "kd": {s: v + 0.1 for s, v in BASE.items()}}
    assert "is the same in every seed" in multiple_comparisons.best_rows(shifted, "higher").reason
    assert (
        multiple_comparisons.best_rows({"base": BASE}, "higher").reason
        == "nothing is bold: there is nothing to compare with"
    )
    assert multiple_comparisons.best_rows({"base": {}}, "higher").reason == "nothing is bold: there are no values"
    with pytest.raises(InputError, match="unknown direction 'up'"):
        multiple_comparisons.best_rows({"base": BASE}, "up")  # type: ignore[arg-type]


def test_an_unfinished_row_does_not_win():
    rows = {"base": BASE, "kd": {0: 0.330, 1: 0.341}}
    found = multiple_comparisons.best_rows(rows, "higher")
    assert (found.best, found.reason) == (frozenset(), "nothing is bold: kd leads with 2 of 3 seeds")
    # Behind a finished row it is compared over what both have.
    behind = multiple_comparisons.best_rows({"base": BASE, "kd": {0: 0.2, 1: 0.21001}}, "higher")
    assert behind.best == {"base"}
    assert "n = 2" in behind.reason


def test_a_row_that_leads_by_seeds_of_its_own_does_not_win():
    # Means 46.0 and 11.01; over the common seeds 2, 3 and 4 they are 10.0 and 11.01, and y is ahead with p < 0.05.
    rows = {"x": {0: 100.0, 1: 100.0, 2: 10.0, 3: 10.1, 4: 9.9}, "y": {2: 11.0, 3: 11.12, 4: 10.91}}
    found = multiple_comparisons.best_rows(rows, "higher")
    assert found.best == frozenset()
    assert found.reason == ("nothing is bold: x has the best mean, but over the seeds that both have it is behind 'y'")
    turned = {key: {seed: -value for seed, value in values.items()} for key, values in rows.items()}
    assert multiple_comparisons.best_rows(turned, "lower") == found
    assert multiple_comparisons.best_rows({**rows, "y": {2: 9.0, 3: 9.12, 4: 8.91}}, "higher").best == {"x"}


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=5))
@settings(max_examples=50, deadline=None)
def test_the_best_mean_is_bold_or_nothing_is(values):
    rows = {f"row {i}": seeds(*v) for i, v in enumerate(values)}
    found = multiple_comparisons.best_rows(rows, "higher")
    top = max(np.mean(v) for v in values)
    assert not found.best or any(np.mean(list(rows[key].values())) == top for key in found.best)
    assert found.reason
