"""Gain per cost: a case for pencil and paper, Fieller's bounds against the t test that they invert, no ratio."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from analysis.stats.gain_per_cost import gain_per_cost

BASELINE, ROW = {0: 30.0, 1: 31.0, 2: 32.0}, {0: 34.0, 1: 36.0, 2: 38.0}
HOURS, MORE_HOURS = {0: 2.0, 1: 2.0, 2: 2.0}, {0: 2.5, 1: 2.5, 2: 2.5}


def test_five_ap_for_half_an_hour_are_ten_an_hour() -> None:
    found = gain_per_cost(ROW, BASELINE, MORE_HOURS, HOURS)
    assert (found.value, found.n, found.interval) == (pytest.approx(10), 3, "95 % Fieller")
    # The cost does not vary, so the interval is that of the gains (4, 5, 6) over 0.5: t 4.3027, error 1 / sqrt(3).
    half = 4.302652729911275 / math.sqrt(3) / 0.5
    assert (found.low, found.high) == (pytest.approx(10 - half), pytest.approx(10 + half))


def test_a_loss_is_a_negative_ratio_and_only_common_seeds_count() -> None:
    found = gain_per_cost({**BASELINE, 7: 0.0}, ROW, MORE_HOURS, {**HOURS, 8: 0.0})
    assert (found.value, found.n) == (pytest.approx(-10), 3)


def test_the_bounds_are_where_the_paired_t_test_turns() -> None:
    random = np.random.default_rng(0)
    for n in (2, 3, 5, 9):
        numbers = [random.normal(mean, spread, n) for mean, spread in ((34, 1), (30, 1), (250, 1), (200, 1))]
        found = gain_per_cost(*(dict(enumerate(map(float, one))) for one in numbers))
        assert found.low is not None
        assert found.high is not None
        for bound in (found.low, found.high):
            test = ttest_1samp(numbers[0] - numbers[1] - bound * (numbers[2] - numbers[3]), 0)
            assert test.pvalue == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        ({0: 2.0, 1: 2.0, 2: 2.0}, "the row costs no more than its baseline"),
        ({0: 1.5, 1: 1.6, 2: 1.7}, "the row costs no more than its baseline"),
        ({0: 1.5, 1: 2.2, 2: 3.0}, "the row does not clearly cost more: "),
        ({0: 2.5}, "one seed cannot tell"),
        ({5: 2.5}, "no seed in common"),
    ],
)
def test_without_a_clear_cost_there_is_no_ratio(cost: dict[int, float], reason: str) -> None:
    found = gain_per_cost(ROW, BASELINE, cost, HOURS)
    assert found.value is None
    assert reason in found.reason


def test_without_spread_there_is_a_ratio_and_no_interval() -> None:
    found = gain_per_cost(dict.fromkeys(range(3), 35.0), dict.fromkeys(range(3), 30.0), MORE_HOURS, HOURS)
    assert (found.value, found.low, found.interval) == (pytest.approx(10), None, "none: no spread")
