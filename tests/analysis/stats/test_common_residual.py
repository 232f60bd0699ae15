"""The block design by paper and pencil and by least squares, and which rows leave the common residual."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.stats.block_design import BlockDesign, null_distribution, upper_p
from analysis.stats.common_residual import common_residual, outlying_seed

ALL = np.ones((3, 3), bool)
VALUES = np.array([[20.0, 22, 24], [25, 28, 28], [21, 20, 26]])


def seeds(values):
    return {seed: float(value) for seed, value in enumerate(values) if np.isfinite(value)}


def noisy(m, n, sds, rng):
    """m rows of n seeds with a common effect of each seed: (baseline, {row: seeds})."""
    values = 37 + rng.normal(size=n) + np.asarray(sds)[:, None] * rng.normal(size=(m, n))
    return seeds(values[0]), {f"row {i}": seeds(row) for i, row in enumerate(values[1:], 1)}


def test_a_full_design_by_paper_and_pencil():
    """The squared residuals sum to 88/9; row 1 minus the baseline is 5, 6, 4, row 2 is 1, -2, 2."""
    design = BlockDesign(ALL)
    fit = design.fit(VALUES[None])
    assert (design.df, design.correlation, design.pairs.tolist()) == (4, 0.5, [3, 3])
    assert fit.difference[0] == pytest.approx([5, 1 / 3])
    assert fit.sd[0] == pytest.approx([1, np.sqrt(13 / 3)])
    assert fit.variance[0] == pytest.approx(22 / 9)
    assert fit.ratio[0] == pytest.approx([9 / 44, 39 / 44])
    assert design.standard_error(22 / 9) == pytest.approx([np.sqrt(44 / 27)] * 2)
    assert fit.share[0].sum() == pytest.approx(1)


def test_missing_seeds_are_least_squares():
    """Row 2 lacks seed 0: 8 numbers, 5 parameters. Differences are means over common seeds."""
    present = ALL.copy()
    present[2, 0] = False
    design = BlockDesign(present)
    fit = design.fit(np.where(present, VALUES, np.nan)[None])
    row, seed = np.nonzero(present)
    columns = np.concatenate([np.eye(3)[row], np.eye(3)[seed]], axis=1)
    squares = np.square(VALUES[present] - columns @ np.linalg.lstsq(columns, VALUES[present], rcond=None)[0]).sum()
    assert (design.df, design.pairs.tolist()) == (3, [3, 2])
    assert fit.variance[0] == pytest.approx(squares / 3)
    assert fit.difference[0] == pytest.approx([5, 0])
    assert design.correlation == pytest.approx(2 / (2 * np.sqrt(6)))  # two seeds of the baseline are in both


def test_seed_effects_cancel_and_units_scale():
    fit = BlockDesign(ALL).fit(VALUES[None])
    moved = BlockDesign(ALL).fit(1000 * (VALUES + np.array([3.0, -7, 100]))[None])
    assert moved.difference == pytest.approx(1000 * fit.difference)
    assert moved.variance == pytest.approx(1e6 * fit.variance)
    assert moved.share == pytest.approx(fit.share)


def test_p_values_of_the_simulated_distribution_are_uniform_and_the_same_every_time():
    design = BlockDesign(np.ones((5, 4), bool))
    null = null_distribution(design)
    fit = design.fit(np.random.default_rng(7).normal(size=(2000, 5, 4)))
    for ordered, values in ((null.share, fit.share.max(axis=1)), (null.ratio, fit.ratio.max(axis=1))):
        ps = np.array([upper_p(ordered, float(value)) for value in values])
        assert np.mean(ps < 0.05) == pytest.approx(0.05, abs=0.02)
        assert np.mean(ps) == pytest.approx(0.5, abs=0.03)
    again = null_distribution(BlockDesign(np.ones((5, 4), bool)))
    assert np.array_equal(again.share, null.share)
    assert upper_p(null.share, 2.0) == 1 / 10_001


def test_equal_rows_stay_together():
    together = [common_residual(*reversed(noisy(6, 5, [0.2] * 6, np.random.default_rng(seed)))) for seed in range(40)]
    assert sum(not pool.separate and not pool.baseline_varies_more for pool in together) >= 34


def test_a_row_that_varies_more_leaves_and_the_rest_is_as_without_it():
    baseline, rows = noisy(6, 8, [0.2, 0.2, 4.0, 0.2, 0.2, 0.2], np.random.default_rng(1))
    pool = common_residual(rows, baseline)
    assert (pool.separate, pool.baseline_varies_more) == (("row 2",), False)
    assert "varies more over seeds than the rows beside it" in pool.notes["row 2"][-1]
    without = common_residual({row: values for row, values in rows.items() if row != "row 2"}, baseline)
    assert pool.fit.variance == pytest.approx(without.fit.variance)


def test_a_baseline_that_varies_more_leaves_no_common_residual():
    baseline, rows = noisy(6, 8, [4.0] + [0.2] * 5, np.random.default_rng(2))
    pool = common_residual(rows, baseline)
    assert pool.baseline_varies_more
    assert all("the baseline varies more over seeds than its rows" in pool.notes[row][-1] for row in rows)


@pytest.mark.parametrize(("m", "n"), [(4, 3), (8, 3), (8, 5), (3, 8)])
def test_a_collapsed_seed_is_named(m, n):
    baseline, rows = noisy(m, n, [0.2] * m, np.random.default_rng(3))
    rows["row 2"][1] = 2.0
    pool = common_residual(rows, baseline)
    assert pool.notes["row 2"][0].startswith("seed 1 is far from the others")
    assert pool.separate == ("row 2",)
    baseline[0], rows["row 2"][1] = 2.0, rows["row 2"][0]
    assert "seed 0 of the baseline is far from the others" in common_residual(rows, baseline).notes["row 1"][0]


def test_a_collapsed_seed_of_one_difference_is_named():
    baseline, rows = noisy(2, 8, [0.2, 0.2], np.random.default_rng(4))
    assert outlying_seed(rows, baseline) == {}
    rows["row 1"][5] = 3.0
    assert outlying_seed(rows, baseline)["row 1"][0].startswith("seed 5 is far from the others")
    three = {seed: rows["row 1"][seed] for seed in (0, 1, 5)}
    assert outlying_seed({"row 1": three}, {seed: baseline[seed] for seed in three}) == {}  # 2 degrees of freedom
