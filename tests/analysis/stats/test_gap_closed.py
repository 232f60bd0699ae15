"""The gap closed: cases for pencil and paper, Fieller's bounds against the t test they invert, coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from analysis.stats.fieller import Ratio
from analysis.stats.gap_closed import gap_closed
from c2d.metrics.coco_data import Array
from tests.analysis.stats.simulate_gap import SHARE, draw, rates

CONTROL = {0: 1.0, 1: 2.0, 2: 3.0}
REFERENCE = {0: 21.0, 1: 22.0, 2: 23.0}
ROW = {0: 5.0, 1: 7.0, 2: 9.0}


def _closed(better: str, *rows: Sequence[float] | Array) -> Ratio:
    """The gap closed of row, control and reference, each one value a seed."""
    row, control, reference = ({seed: float(value) for seed, value in enumerate(one)} for one in rows)
    return gap_closed(row, control, reference, better)


def test_the_share_is_that_of_the_means() -> None:
    """Row 7, control 2, reference 22: 5 of 20."""
    found = gap_closed(ROW, CONTROL, REFERENCE, "higher")
    assert (found.value, found.n, found.interval) == (pytest.approx(0.25), 3, "95 % Fieller")
    # The gap is 20 in every seed, so the interval is that of the gain (4, 5, 6) over 20: t 4.3027, error 1 / sqrt(3).
    half = 4.302652729911275 / math.sqrt(3) / 20
    assert (found.low, found.high) == (pytest.approx(0.25 - half), pytest.approx(0.25 + half))


def test_the_bounds_are_where_the_paired_t_test_turns() -> None:
    random = np.random.default_rng(0)
    for n in (2, 3, 5, 9):
        row, control, reference = (random.normal(mean, 1, n) for mean in (9, 2, 200))
        found = _closed("higher", row, control, reference)
        assert found.low is not None
        assert found.high is not None
        for bound in (found.low, found.high):
            test = ttest_1samp(row - control - bound * (reference - control), 0)
            assert test.pvalue == pytest.approx(0.05, abs=1e-9)


def test_only_common_seeds_count_and_lower_may_be_better() -> None:
    found = gap_closed({**ROW, 7: 99.0}, {**CONTROL, 8: 99.0}, REFERENCE, "higher")
    assert (found.value, found.n) == (pytest.approx(0.25), 3)
    found = _closed("lower", *([-value for value in one.values()] for one in (ROW, CONTROL, REFERENCE)))
    assert found.value == pytest.approx(0.25)
    assert gap_closed(CONTROL, REFERENCE, ROW, "").value == pytest.approx(20 / 15)


@pytest.mark.parametrize(
    ("control", "reference", "reason"),
    [
        ({5: 1.0}, REFERENCE, "row, control and reference have no seed in common"),
        ({0: 1.0}, REFERENCE, "the gap is of one seed, which cannot tell whether the reference is ahead"),
        (REFERENCE, CONTROL, "the reference is not ahead of the control (-20 over 3 seeds)"),
        (CONTROL, CONTROL, "the reference is not ahead of the control (+0 over 3 seeds)"),
        (
            CONTROL,
            {0: 2.0, 1: 9.0, 2: 3.5},
            "the reference is not clearly ahead of the control: +2.83, 95 % interval [-6",
        ),
    ],
)
def test_there_is_no_share_without_a_clear_gap(
    control: dict[int, float], reference: dict[int, float], reason: str
) -> None:
    found = gap_closed(ROW, control, reference, "higher")
    assert (found.value, found.low, found.high) == (None, None, None)
    assert found.reason.startswith(reason)


def test_without_any_spread_there_is_a_share_and_no_interval() -> None:
    found = _closed("higher", *([value] * 3 for value in (5.0, 1.0, 9.0)))
    assert (found.value, found.low, found.interval) == (0.5, None, "none: no spread")
    assert _closed("higher", *([value, value + 0.1] for value in (5.0, 1.0, 9.0))).interval == "none: no spread"


@pytest.mark.parametrize(("gap", "n"), [(2.0, 3), (5.0, 3), (20.0, 5)])
def test_it_holds_95_times_in_100_also_where_the_gap_is_just_clear(gap: float, n: int) -> None:
    """800 tables, control with a tenth of the spread; chance moves the share by 2.3 % at 370 tables (three errors)."""
    given, held, by_bootstrap, _ = rates(draw("normal", "control x 0.1", gap, n, 800))
    assert given > 0.4
    assert held == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / (800 * given)))
    assert by_bootstrap < 0.9
    assert SHARE == 0.4
