"""The residual spread of a pilot: a case by hand, each of its sources, and that its interval holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats.power.comparison_power import FamilyTest
from analysis.stats.power.residual_spread import residual_spread
from c2d.core.errors import InputError
from tests.analysis.stats.power.simulate_power import coverage, detected


def test_two_rows_and_a_baseline_by_hand() -> None:
    """Residuals (2, -1, -1), (-1, 2, -1), (-1, -1, 2): their squares sum to 18, over 2 x 2 degrees of freedom."""
    baseline, rows = {0: 12.0, 1: 19.0, 2: 29.0}, {"a": {0: 10.0, 1: 23.0, 2: 30.0}, "b": {0: 11.0, 1: 21.0, 2: 34.0}}
    found = residual_spread(rows, baseline, 2)
    assert (found.sd, found.df, found.seeds, found.rows) == (pytest.approx(math.sqrt(4.5)), 4, 3, ("a", "b"))
    # Chi-square of 4 degrees of freedom: 2.5 % below 0.484, 2.5 % above 11.143 (tables of every textbook).
    assert (found.low, found.high) == (pytest.approx(math.sqrt(18 / 11.143), rel=1e-3),
                                       pytest.approx(math.sqrt(18 / 0.4844), rel=1e-3))  # fmt: skip
    assert (found.source, found.test, found.reason) == ("rows", FamilyTest(2), "")


def test_one_row_has_the_deviation_of_its_differences() -> None:
    """Differences 1, 2 and 3: standard deviation 1, of one run 1 / sqrt(2)."""
    found = residual_spread({"a": {0: 2.0, 1: 4.0, 2: 6.0}}, {0: 1.0, 1: 2.0, 2: 3.0}, 1)
    assert (found.sd, found.df, found.test) == (pytest.approx(math.sqrt(0.5)), 2, FamilyTest(1))


def test_without_rows_it_is_the_baselines_own() -> None:
    found = residual_spread({"a": {}, "b": {5: 1.0}, "c": {0: 3.0}}, {0: 1.0, 1: 2.0, 2: 3.0}, 3)
    assert (found.sd, found.df, found.source, found.rows) == (pytest.approx(1.0), 2, "baseline", ())
    assert found.test == FamilyTest(3)


@pytest.mark.parametrize(
    ("baseline", "reason"),
    [
        ({}, "the baseline has no finished seed"),
        ({0: 1.0}, "the baseline has one finished seed, which shows no spread"),
        ({0: 0.1 + 0.2, 1: 0.3}, "the same number in every seed: there is no spread to plan with"),
    ],
)
def test_where_there_is_none_it_says_why(baseline: dict[int, float], reason: str) -> None:
    found = residual_spread({}, baseline, 1)
    assert (found.sd, found.reason) == (None, reason)


def test_a_row_that_varies_more_is_left_out_and_keeps_its_share() -> None:
    rng = np.random.default_rng(3)
    rows = {f"row {k}": dict(enumerate(rng.normal(size=8).tolist())) for k in range(7)}
    rows["row 6"] = {seed: 20 * value for seed, value in rows["row 6"].items()}
    found = residual_spread(rows, dict(enumerate(rng.normal(size=8).tolist())), 9)
    assert found.rows == tuple(f"row {k}" for k in range(6))
    assert found.test == FamilyTest(8, 8 / 9)  # two rows that are planned, six that are here
    assert 0.65 < (found.sd or 0) < 1.3
    assert any(note.startswith("row 6: varies more over seeds") for note in found.notes)


def test_a_baseline_that_varies_more_leaves_a_t_test_of_each_row() -> None:
    rng = np.random.default_rng(4)
    rows = {f"row {k}": dict(enumerate(rng.normal(size=8).tolist())) for k in range(5)}
    baseline = dict(enumerate((20 * rng.normal(size=8)).tolist()))
    found = residual_spread(rows, baseline, 5)
    wanted = np.mean([np.var([row[seed] - baseline[seed] for seed in range(8)], ddof=1) for row in rows.values()])
    assert (found.source, found.df, found.test) == ("differences", 7, FamilyTest(1, 1 / 5))
    assert found.sd == pytest.approx(math.sqrt(wanted / 2))


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="baseline: value number 1 is nan"):
        residual_spread({}, {0: 1.0, 1: math.nan}, 1)


def test_intervals_and_power_hold_in_a_small_simulation() -> None:
    """The large one is in docs/results/statistics.md. Two standard errors are 4 and 9 points."""
    of_sd, of_seeds = coverage(3, 3, 120)
    assert of_sd > 0.88
    assert of_seeds > 0.88
    assert 0.65 < detected(3, 3, 80) < 0.92
