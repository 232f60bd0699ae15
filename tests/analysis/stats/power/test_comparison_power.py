"""Power of a row's comparison: published sample sizes, scipy's noncentral t, and tables that are drawn and tested."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nct
from scipy.stats import t as student_t

from analysis.stats.power.comparison_power import (
    MOST_SEEDS,
    FamilyTest,
    power_of_difference,
    seeds_needed,
    smallest_difference,
)
from c2d.metrics.coco_data import Array


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_one_row_needs_the_pairs_of_a_paired_t_test(effect: float, pairs: int) -> None:
    """G*Power 3.1, matched pairs, two-sided 5 %, power 80 %: dz 0.2, 0.5 and 0.8 need 199, 34 and 15 pairs."""
    assert seeds_needed(FamilyTest(1), effect * math.sqrt(2), 0.8) == pairs


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 50])
@pytest.mark.parametrize("difference", [0.3, 1.0, 3.0])
def test_one_row_has_the_power_of_the_noncentral_t(seeds: int, difference: float) -> None:
    """The formula of power.t.test(type = "paired") written out, with the deviation of the differences, sqrt(2)."""
    df, shift = seeds - 1, difference / math.sqrt(2) * math.sqrt(seeds)
    wanted = nct.sf(student_t.ppf(0.975, df), df, shift)
    assert power_of_difference(FamilyTest(1), seeds, difference) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("rows", "seeds", "difference"), [(7, 3, 3.0), (3, 4, 2.0), (11, 5, 1.5)])
def test_a_table_detects_a_row_as_often_as_computed(rows: int, seeds: int, difference: float) -> None:
    """20,000 tables, drawn and tested literally; the critical value is the 95 % quantile of the largest |t| drawn."""
    largest = np.abs(_t(rows, seeds, 0.0, 0)).max(axis=1)
    critical = np.quantile(largest, 0.95)
    found = _t(rows, seeds, difference, 1)[:, 0] > critical
    assert power_of_difference(FamilyTest(rows), seeds, difference) == pytest.approx(found.mean(), abs=0.015)


def _t(rows: int, seeds: int, difference: float, stream: int) -> Array:
    """t statistics (20000, rows) of rows and a baseline that share effects of the seeds, by two-way residuals."""
    rng = np.random.default_rng([rows, seeds, stream])
    values = rng.normal(size=(20_000, rows + 1, seeds)) + 5 * rng.normal(size=(20_000, 1, seeds))
    values[:, 1] += difference
    of_row, of_seed = values.mean(axis=2, keepdims=True), values.mean(axis=1, keepdims=True)
    residual = values - of_row - of_seed + values.mean(axis=(1, 2), keepdims=True)
    variance = (residual**2).sum(axis=(1, 2)) / (rows * (seeds - 1))
    found: Array = (of_row[:, 1:, 0] - of_row[:, :1, 0]) / np.sqrt(2 * variance / seeds)[:, None]
    return found


def test_three_standard_deviations_and_three_seeds_in_a_table_of_eight_rows() -> None:
    """docs/results/statistics.md has 75 % of 4,000 such tables for Dunnett alone, simulated before this formula."""
    assert power_of_difference(FamilyTest(7), 3, 3.0) == pytest.approx(0.75, abs=0.01)


def test_a_row_that_is_tested_by_itself_has_its_share_of_the_level() -> None:
    """Holm's first step over 4 rows: a paired t test at 1.25 %."""
    critical = student_t.ppf(1 - 0.0125 / 2, 4)
    wanted = nct.sf(critical, 4, 2.0 * math.sqrt(5 / 2))
    assert power_of_difference(FamilyTest(1, 1 / 4), 5, 2.0) == pytest.approx(wanted, abs=1e-9)


plans = st.tuples(st.integers(1, 12), st.floats(0.1, 20), st.floats(0.1, 0.99))


@given(plans)
@settings(max_examples=25, deadline=None)
def test_the_seeds_needed_are_the_smallest_that_detect_the_difference(plan: tuple[int, float, float]) -> None:
    rows, difference, power = plan
    test = FamilyTest(rows)
    seeds = seeds_needed(test, difference, power)
    assert seeds is not None
    assert power_of_difference(test, seeds, difference) >= power
    assert seeds == 2 or power_of_difference(test, seeds - 1, difference) < power
    assert smallest_difference(test, seeds, power) <= difference * (1 + 1e-6)
    assert seeds == 2 or smallest_difference(test, seeds - 1, power) > difference * (1 - 1e-6)


def test_more_rows_and_smaller_differences_need_more_seeds() -> None:
    needed = [seeds_needed(FamilyTest(rows), 1.0, 0.8) for rows in (3, 7, 11)]
    assert needed == sorted(needed, key=lambda seeds: seeds or 0)
    assert seeds_needed(FamilyTest(3), 1e-3, 0.8) is None
    assert power_of_difference(FamilyTest(3), MOST_SEEDS, 1e-3) < 0.8
    # One row has few degrees of freedom, so a second one may help: the residual of both is better known.
    assert smallest_difference(FamilyTest(2), 2, 0.8) < smallest_difference(FamilyTest(1), 2, 0.8)


def test_a_huge_difference_needs_two_seeds() -> None:
    assert seeds_needed(FamilyTest(3), 1e6, 0.99) == 2
