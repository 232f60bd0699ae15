"""Families of contrasts: the interval belongs to the verdict, Holm's p values, power, and a small simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.contrasts.contrast_tests import family_tests, seeds_for_power
from analysis.stats.contrasts.linear_contrasts import ContrastEstimate, VariancePart
from tests.analysis.stats.contrasts import simulate_claims
from tests.analysis.stats.contrasts.simulate_claims import chance


def estimate(value: float, error: float = 1.0, df: float = 8, seeds: int = 5) -> ContrastEstimate:
    return ContrastEstimate(value, seeds, (VariancePart(seeds, seeds * error**2, df, df / (seeds - 1)),), "t")


def test_three_lines_by_hand() -> None:
    """t = 5, 2.5 and 1 with 8 df: p = 0.00105, 0.0370, 0.347; Holm: x 3, x 2, x 1.

    Only the first is below 0.05. Its interval has the level 1 - 0.05/3 and so have the others, which contain 0.
    """
    first, second, third = family_tests([estimate(5), estimate(2.5), estimate(-1)], [0, 0, 0])
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.p == pytest.approx(0.00105, abs=5e-6)
    assert [one.p_adjusted for one in (first, second, third)] == pytest.approx(
        [3 * first.p, 2 * second.p, third.p], rel=1e-9
    )
    assert [one.significant for one in (first, second, third)] == [True, False, False]
    half = stats.t.ppf(1 - 0.05 / 6, 8)
    assert (first.low, first.high) == pytest.approx((5 - half, 5 + half))
    assert (third.low, third.high) == pytest.approx((-1 - half, -1 + half))
    assert (first.single_low, first.single_high) == pytest.approx((5 - 2.306, 5 + 2.306), abs=1e-3)


def test_a_line_without_a_test_is_not_counted() -> None:
    nothing = ContrastEstimate(1.0, 1, (), "none: one seed")
    found = family_tests([None, estimate(5), nothing], [0, 0, 0])
    assert found[0] is found[2] is None
    assert found[1] is not None
    assert (found[1].family, found[1].p_adjusted) == (1, found[1].p)


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.tuples(st.floats(-12, 12), st.floats(0.1, 3), st.floats(1, 30)), min_size=1, max_size=8),
    bound=st.floats(0, 3),
)
def test_an_interval_leaves_out_the_null_hypothesis_exactly_if_it_is_rejected(
    values: list[tuple[float, float, float]], bound: float
) -> None:
    bounds = [bound * (place % 2) for place in range(len(values))]
    found = family_tests([estimate(*one) for one in values], bounds)
    for one, limit in zip(found, bounds, strict=True):
        assert one is not None
        if abs(one.p_adjusted - 0.05) > 1e-9:
            assert (one.low > limit or one.high < -limit) == one.significant
        assert one.low <= one.single_low
        assert one.single_high <= one.high
        assert one.p <= one.p_adjusted


def test_the_power_is_that_of_textbooks() -> None:
    """A paired t test at 5 % finds one standard deviation in 80 % of the cases with 10 pairs, half of one with 34."""
    paired = ContrastEstimate(0.0, 5, (VariancePart(5, 1.0, 4, 1),), "paired t")
    assert (seeds_for_power(paired, 1.0, 0.95), seeds_for_power(paired, 0.5, 0.95)) == (10, 34)
    assert seeds_for_power(paired, 1e-3, 0.95) is None
    assert seeds_for_power(paired, 1e6, 0.95) == 2


def test_the_number_of_seeds_for_sameness_is_enough() -> None:
    """Counted: two equal sides, n pairs, the 95 % interval inside the margin of 1 standard deviation."""
    paired = ContrastEstimate(0.0, 5, (VariancePart(5, 1.0, 4, 1),), "paired t")
    n = seeds_for_power(paired, 1.0, 0.95, same=True)
    assert n is not None
    d = np.random.default_rng(0).normal(size=(4000, n))
    half = stats.t.ppf(0.975, n - 1) * d.std(axis=1, ddof=1) / math.sqrt(n)
    inside = float(np.mean(np.abs(d.mean(axis=1)) + half < 1))
    assert 0.72 < inside < 0.9


@pytest.mark.parametrize(
    ("spread", "seeds", "missing"), [("equal", 3, False), ("equal", 5, True), ("both baselines x 3", 5, False)]
)
def test_false_verdicts_are_rare(spread: str, seeds: int, missing: bool) -> None:
    """The first repeats of `make simulate`: no cell differs, so "shown" is false."""
    repeats = 120
    values, present = simulate_claims.draw(spread, seeds, repeats), simulate_claims.present_seeds(seeds, missing)
    tests = [simulate_claims.file_tests(simulate_claims.estimates(one, present), 0.0) for one in values]
    shown = np.mean([any(test.significant and test.low > 0 for test in of_file) for of_file in tests])
    covered = np.mean([[test.single_low <= 0 <= test.single_high for test in of_file] for of_file in tests])
    assert shown <= 0.05 + chance(0.05, repeats)
    assert covered > (0.9 if "x 3" in spread else 0.95 - chance(0.05, 2 * repeats))
