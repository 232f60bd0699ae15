"""Estimates of contrasts: by hand, against least squares written out, and against scipy's t tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.contrasts import seed_group
from analysis.stats.contrasts.linear_contrasts import Component, ContrastEstimate, estimate_contrast
from analysis.stats.contrasts.seed_group import SeedGroup
from c2d.core.errors import InputError

Values = dict[str, dict[int, float]]
HAND: Values = {
    "baseline": {0: 20.0, 1: 22.0, 2: 24.0},
    "kd": {0: 25.0, 1: 28.0, 2: 28.0},
    "crop": {0: 21.0, 1: 20.0, 2: 26.0},
}


def one(values: Values, **factors: float) -> ContrastEstimate:
    return estimate_contrast([Component(factors, SeedGroup(values))])


def made_up(cells: int, seeds: int, rng: np.random.Generator, missing: int = 0) -> Values:
    """Equal variances, an effect of each seed and cell; the last seed is missing in the first `missing` cells."""
    table = rng.normal(size=(cells, seeds)) + 5 * rng.normal(size=seeds) + rng.normal(size=(cells, 1))
    return {
        f"c{i}": {s: float(v) for s, v in enumerate(row) if s < seeds - 1 or i >= missing}
        for i, row in enumerate(table)
    }


def dummy_columns(values: Values) -> tuple[np.ndarray, float, int]:
    """(means of the cells up to a constant, residual variance, its df) of value = cell + seed by least squares."""
    cells, seeds = list(values), sorted({seed for of_cell in values.values() for seed in of_cell})
    y, rows = [], []
    for cell in cells:
        for seed, value in values[cell].items():
            y.append(value)
            rows.append([float(cell == other) for other in cells] + [float(seed == other) for other in seeds[1:]])
    x = np.array(rows)
    solution, *_ = np.linalg.lstsq(x, np.array(y), rcond=None)
    residual = np.array(y) - x @ solution
    df = len(y) - np.linalg.matrix_rank(x)
    return solution[: len(cells)], float(residual @ residual / df), int(df)


def test_a_difference_by_hand() -> None:
    """kd is 5, 6, 4 above the baseline. The squared residuals of the 3 x 3 numbers sum to 88/9, with 4 df.

    So the variance is 22/9 and the standard error sqrt(2 x 22/9 / 3) = 1.277.
    """
    found = one(HAND, kd=1, baseline=-1)
    assert (found.value, found.n, found.df) == (pytest.approx(5), 3, pytest.approx(4))
    assert found.error == pytest.approx(math.sqrt(2 * 22 / 9 / 3))
    assert found.test == "t, residual of 3 cells x 3 seeds, 4 df"
    assert found.used == {
        (0, cell, seed): factor / 3 for cell, factor in (("kd", 1), ("baseline", -1)) for seed in range(3)
    }
    assert found.notes == ()


def test_an_interaction_by_hand() -> None:
    """kd + crop - 2 x baseline is 6, 4, 6 by seed: 16/3. Its variance is (1 + 1 + 4) x 22/9 / 3."""
    found = one(HAND, kd=1, crop=1, baseline=-2)
    assert found.value == pytest.approx(16 / 3)
    assert found.error == pytest.approx(math.sqrt(6 * 22 / 9 / 3))


@pytest.mark.parametrize("missing", [0, 2])
def test_least_squares_with_dummy_columns_gives_the_same(missing: int) -> None:
    values = made_up(5, 4, np.random.default_rng(5), missing)
    means, variance, df = dummy_columns(values)
    found = one(values, c3=1, c4=0.5, c2=-1.5)  # cells with all seeds
    assert found.df == pytest.approx(df)
    assert found.error == pytest.approx(math.sqrt(variance * (1 + 0.25 + 2.25) / 4))
    if not missing:
        assert found.value == pytest.approx(means[3] + 0.5 * means[4] - 1.5 * means[2])
    assert ("(some missing)" in found.test) == bool(missing)


def test_a_missing_seed_is_left_out_of_both_sides() -> None:
    values = made_up(4, 4, np.random.default_rng(5), missing=1)
    found = one(values, c1=1, c0=-1)
    assert found.value == pytest.approx(np.mean([values["c1"][s] - values["c0"][s] for s in range(3)]))
    assert (found.n, found.error) == (3, pytest.approx(math.sqrt(2 * dummy_columns(values)[1] / 3)))


def test_two_cells_are_the_paired_t_test_of_scipy() -> None:
    values = {cell: HAND[cell] for cell in ("kd", "crop")}
    found, reference = one(values, kd=1, crop=-1), stats.ttest_rel([25, 28, 28], [21, 20, 26])
    assert found.test == "paired t"
    assert found.value is not None
    assert found.value / found.error == pytest.approx(reference.statistic)
    assert found.df == pytest.approx(reference.df)


def test_gains_in_two_groups_are_the_welch_test_of_scipy() -> None:
    """With two cells a group, the gains of the groups are two samples with variances of their own."""
    rng = np.random.default_rng(1)
    groups = [made_up(2, seeds, rng) for seeds in (5, 7)]
    found = estimate_contrast(
        [
            Component({"c1": sign, "c0": -sign}, SeedGroup(group))
            for sign, group in zip((1.0, -1.0), groups, strict=True)
        ]
    )
    gains = [[group["c1"][s] - group["c0"][s] for s in group["c0"]] for group in groups]
    reference = stats.ttest_ind(*gains, equal_var=False)
    assert found.value is not None
    assert found.value / found.error == pytest.approx(reference.statistic)
    assert (found.df, found.n) == (pytest.approx(reference.df), 5)
    assert found.test == f"Welch-Satterthwaite t of 2 groups, {reference.df:.1f} df"


def test_cells_without_common_seeds_are_the_welch_test_of_scipy() -> None:
    values = {"a": {0: 1.0, 1: 2.0, 2: 4.0}, "b": {3: 6.0, 4: 9.0, 5: 8.0, 6: 5.5}}
    found = one(values, a=1, b=-1)
    reference = stats.ttest_ind(list(values["a"].values()), list(values["b"].values()), equal_var=False)
    assert found.value is not None
    assert found.value / found.error == pytest.approx(reference.statistic)
    assert found.df == pytest.approx(reference.df)
    assert found.notes == ("fewer than two seeds in common: compared over all seeds of each cell, unpaired",)


def test_a_cell_that_varies_more_is_tested_alone_and_widens_no_other() -> None:
    values = made_up(5, 6, np.random.default_rng(2))
    quiet = one(values, c2=1, c3=-1)
    values["c0"] = {seed: value + (-1) ** seed * 30 for seed, value in values["c0"].items()}
    loud, beside = one(values, c1=1, c0=-1), one(values, c2=1, c3=-1)
    gains = [values["c1"][s] - values["c0"][s] for s in range(6)]
    assert (loud.test, loud.df) == ("paired t", pytest.approx(5))
    assert loud.error == pytest.approx(np.std(gains, ddof=1) / math.sqrt(6))
    assert any("c0 varies more over seeds than the cells beside it" in note for note in loud.notes)
    assert beside.test == "t, residual of 4 cells x 6 seeds, 15 df"
    assert beside.error < 1.3 * quiet.error


def test_the_f_test_of_a_cell_is_exact() -> None:
    """Under equal variances its p values are uniform, with a missing seed too; here 4 cells x 3 seeds, 400 times."""
    rng, ps = np.random.default_rng(0), []
    for _ in range(400):
        residual = SeedGroup(made_up(4, 3, rng, missing=1)).residual
        assert residual is not None
        if "c1" in residual.cells:
            residual.note_on_variance("c1")
            ps.append(residual._p["c1"])
    assert stats.kstest(ps, "uniform").pvalue > 0.001
    assert np.mean(np.array(ps) < seed_group.VARIES_MORE) == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 400))


def test_an_outlying_seed_is_named_with_the_cell() -> None:
    values = made_up(5, 5, np.random.default_rng(4))
    values["c2"][3] -= 12
    assert any(note.startswith("c2: seed 3 is far from the others") for note in one(values, c2=1, c0=-1).notes)
    assert not any("far" in note for note in one(values, c1=1, c0=-1).notes)


@pytest.mark.parametrize(
    ("values", "test"),
    [
        ({"a": {0: 1.0}, "b": {0: 2.0}}, "none: one seed"),
        ({"a": {0: 1.0, 1: 2.0}, "b": {0: 2.0, 1: 3.0}}, "none: no spread"),
        ({"a": {0: 1.0}, "b": {1: 2.0, 2: 3.0}}, "none: no seed in common, and one seed on a side"),
        ({"a": {0: 1.0, 1: 1.0}, "b": {2: 2.0, 3: 2.0}}, "none: no spread"),
    ],
)
def test_what_nothing_measures_has_no_test(values: Values, test: str) -> None:
    found = one(values, b=1, a=-1)
    assert (found.parts, found.test) == ((), test)
    assert found.value == (None if "in common" in test else pytest.approx(1))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="they have to sum to 0"):
        one(HAND, kd=1, baseline=-0.5)
    with pytest.raises(InputError, match="other: no value"):
        one({**HAND, "other": {}}, other=1, kd=-1)
    with pytest.raises(InputError, match="value number 1 is nan"):
        one({"a": {0: 1.0, 1: math.nan}, "b": {0: 1.0, 1: 2.0}}, a=1, b=-1)


@settings(max_examples=40, deadline=None)
@given(
    table=st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=3, max_size=3),
    of_seeds=st.lists(st.floats(-50, 50), min_size=3, max_size=3),
    scale=st.floats(0.1, 10),
)
def test_effects_of_seeds_cancel_and_the_unit_does_not_matter(
    table: list[list[float]], of_seeds: list[float], scale: float
) -> None:
    plain: Values = {f"c{i}": dict(enumerate(row)) for i, row in enumerate(table)}
    moved: Values = {
        cell: {seed: scale * (value + of_seeds[seed]) for seed, value in of_cell.items()}
        for cell, of_cell in plain.items()
    }
    a, b = one(plain, c0=1, c1=1, c2=-2), one(moved, c0=1, c1=1, c2=-2)
    assert a.value is not None
    assert b.value == pytest.approx(scale * a.value, abs=1e-9 * scale * 100)
    # The sum of factor x number over the runs is the estimate.
    assert sum(factor * plain[cell][seed] for (_, cell, seed), factor in a.used.items()) == pytest.approx(
        a.value, abs=1e-9
    )
    if a.parts and b.parts and a.error > 1e-3 and a.test == b.test:
        assert b.error == pytest.approx(scale * a.error, rel=1e-6)
