"""Linear contrasts of cells over seeds: sums of means with factors that add up to 0, as "a - b" or "(a - b) - (c - d)".

A contrast has one component for each group of cells that share their seeds. In a component the effect of a seed cancels,
and the residual of all cells of the group together (`analysis.stats.block_design`) measures the noise:

  estimate   mean over the seeds that all cells of the component have of sum(factor x value)
  variance   residual variance x sum(factor^2) / seeds, with the degrees of freedom of the residual
  alone      the variance of sum(factor x value) over seeds, with seeds - 1, where the residual does not fit

A cell that varies more than its group (Cochran's C, level `GROSSLY_UNEQUAL`) leaves the residual, so that it does not
widen the intervals of the others. A contrast with such a cell, or with one that varies more than the residual without
it (F test at `VARIES_MORE`), is tested alone. That F test is exact, also if seeds are missing: what a cell adds to the
squared residuals is orthogonal to the rest.

Components are independent of each other, as their cells share no student or no data. Their variances are added, with
the degrees of freedom of Welch and Satterthwaite (Satterthwaite 1946, Biometrics Bulletin 2, 110-114).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from analysis.stats.block_design import BlockDesign, BlockFit, null_distribution, upper_p
from analysis.stats.common_residual import GROSSLY_UNEQUAL, Seeds, outlying_residual
from analysis.stats.seed_statistics import SAME, finite_array
from c2d.core.errors import InputError
from c2d.metrics.coco_data import Array

VARIES_MORE = 0.1
"""Level of the F test of one cell. Higher than that of tables, because a sentence is read without its table; what other
levels would give is in docs/results/statistics.md."""
FEWEST_CELLS = 3
"""Cells of a group whose residual says more than one difference of two of them."""


@dataclass(frozen=True)
class Component:
    """Cells that share their seeds, with the factors of those in the contrast.

    Attributes:
        factors: {cell: factor}, which sum to 0.
        values: {cell: {seed: value}} of these cells and of all others of their group.
    """

    factors: Mapping[str, float]
    values: Mapping[str, Seeds]


@dataclass(frozen=True)
class VariancePart:
    """The variance of one component of an estimate.

    Attributes:
        seeds: number of seeds behind the mean.
        per_seed: variance of sum(factor x value) of one seed.
        df: degrees of freedom of `per_seed`.
        df_per_seed: how many more a further seed brings.
    """

    seeds: int
    per_seed: float
    df: float
    df_per_seed: float


@dataclass(frozen=True)
class ContrastEstimate:
    """A contrast, in the unit of its values.

    Attributes:
        value: the estimate; None where a component has no seeds in common.
        n: seeds of the component with the fewest.
        parts: variances of the components; () without a test.
        test: name of the test, or why there is none.
        used: {(component, cell, seed): factor / seeds}: the value is the sum of factor x number over these runs.
        notes: sentences on unequal variances, outlying seeds and seeds that are not shared.
    """

    value: float | None
    n: int
    parts: tuple[VariancePart, ...] = ()
    test: str = ""
    used: Mapping[tuple[int, str, int], float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(sum(part.per_seed / part.seeds for part in self.parts))

    @property
    def df(self) -> float:
        """Degrees of freedom of t."""
        return satterthwaite_df([(part.per_seed / part.seeds, part.df) for part in self.parts])

    def after_seeds(self, seeds: int) -> tuple[float, float]:
        """Return (standard error, degrees of freedom) if every cell had so many seeds, with the variances as found."""
        parts = [
            (part.per_seed / seeds, part.df + part.df_per_seed * (seeds - part.seeds))
            for part in self.parts
        ]
        return math.sqrt(sum(variance for variance, _ in parts)), satterthwaite_df(parts)


def satterthwaite_df(parts: Sequence[tuple[float, float]]) -> float:
    """Return the degrees of freedom of a sum of independent variances.

    Args:
        parts: (variance of a mean, its degrees of freedom).
    """
    return sum(v for v, _ in parts) ** 2 / sum(v**2 / df for v, df in parts)


def estimate_contrast(components: Sequence[Component]) -> ContrastEstimate:
    """Estimate a contrast; see the module for the variance that each component gets.

    Raises:
        InputError: factors that do not sum to 0, a cell without values, or a value that is not finite.
    """
    found = [_estimate(at, one) for at, one in enumerate(components)]
    notes = tuple(dict.fromkeys(note for one in found for note in one.notes))
    used = {key: factor for one in found for key, factor in one.used.items()}
    n = min(one.n for one in found)
    values = [one.value for one in found]
    if any(value is None for value in values):
        test = next(one.test for one in found if one.value is None)
        return ContrastEstimate(None, n, (), test, used, notes)
    value = math.fsum(value for value in values if value is not None)
    if untested := [one.test for one in found if not one.parts]:
        return ContrastEstimate(value, n, (), untested[0], used, notes)
    parts = tuple(part for one in found for part in one.parts)
    tests = list(dict.fromkeys(one.test for one in found))
    test = tests[0] if len(found) == 1 else f"Welch-Satterthwaite t of {len(found)} groups ({'; '.join(tests)})"
    return ContrastEstimate(value, n, parts, test, used, notes)


def _estimate(at: int, component: Component) -> ContrastEstimate:
    factors = {cell: factor for cell, factor in component.factors.items() if factor}
    if abs(math.fsum(factors.values())) > SAME * sum(map(abs, factors.values())):
        raise InputError(f"the factors {factors} of a contrast sum to {math.fsum(factors.values()):g}; they have to sum to 0")
    for cell, values in component.values.items():
        if values:
            finite_array(list(values.values()), cell)
    for cell in factors:
        if not component.values.get(cell):
            raise InputError(f"{cell}: no value; leave the contrast out until it has one")
    common = sorted(set.intersection(*(set(component.values[cell]) for cell in factors)))
    if len(common) < 2 and all(len(component.values[cell]) > 1 for cell in factors):
        return _unpaired(at, factors, component.values)
    if not common:
        return ContrastEstimate(None, 0, (), "none: no seed in common, and one seed on a side")
    per_seed = np.array([[component.values[cell][seed] for cell in factors] for seed in common])
    sums = per_seed @ np.array(list(factors.values()))
    used = {(at, cell, seed): factor / len(common) for cell, factor in factors.items() for seed in common}
    value = float(sums.mean())
    if len(common) == 1:
        return ContrastEstimate(value, 1, (), "none: one seed", used)
    part, test, notes = _variance(factors, component.values, common, sums, float(np.abs(per_seed).max()))
    return ContrastEstimate(value, len(common), (part,) if part else (), test, used, notes)


def _variance(
    factors: Mapping[str, float],
    values: Mapping[str, Seeds],
    common: Sequence[int],
    sums: Array,
    scale: float,
) -> tuple[VariancePart | None, str, tuple[str, ...]]:
    """(the variance of a component, the name of its test, notes)."""
    n = len(common)
    alone = 0.0 if np.ptp(sums) <= SAME * scale else float(sums.var(ddof=1))
    pool = _pool(values)
    if pool is None or not all(cell in pool.cells for cell in factors):
        notes = pool.notes_on(factors) if pool else ()
        return _alone(n, alone, notes)
    notes = pool.notes_on(factors)
    if pool.variance <= (SAME * scale) ** 2:
        return None, "none: no spread", notes
    for cell in factors:
        if (p := pool.varies_more_p(cell)) < VARIES_MORE:
            why = f"{cell} varies more over seeds than the cells beside it (F test, p {p:.2g}): tested alone"
            return _alone(n, alone, (*notes, why))
    squares = math.fsum(factor**2 for factor in factors.values())
    missing = "" if pool.design.present.all() else " (some missing)"
    seeds = int(pool.design.present.any(axis=0).sum())
    test = f"t, residual of {len(pool.cells)} cells x {seeds} seeds{missing}, {pool.design.df} df"
    more = len(pool.cells) - 1
    return VariancePart(n, pool.variance * squares, pool.design.df, more), test, notes


def _alone(n: int, variance: float, notes: Sequence[str]) -> tuple[VariancePart | None, str, tuple[str, ...]]:
    if variance == 0:
        return None, "none: no spread", tuple(notes)
    test = "paired t" if n > 2 else "paired t, n = 2: almost no power"
    return VariancePart(n, variance, n - 1, 1), test, tuple(notes)


def _unpaired(at: int, factors: Mapping[str, float], values: Mapping[str, Seeds]) -> ContrastEstimate:
    """Means over all seeds of each cell, whose variances are its own."""
    value, parts, used = 0.0, [], {}
    for cell, factor in factors.items():
        x = np.array(list(values[cell].values()))
        value += factor * float(x.mean())
        variance = 0.0 if np.ptp(x) <= SAME * np.abs(x).max() else float(x.var(ddof=1))
        if variance:
            parts.append(VariancePart(len(x), factor**2 * variance, len(x) - 1, 1))
        used |= {(at, cell, seed): factor / len(x) for seed in values[cell]}
    note = "fewer than two seeds in common: compared over all seeds of each cell, unpaired"
    test = f"Welch t, unpaired, {len(factors)} cells" if parts else "none: no spread"
    return ContrastEstimate(value, min(len(values[cell]) for cell in factors), tuple(parts), test, used, (note,))


@dataclass(frozen=True)
class _Pool:
    """The cells of a group that have one residual variance.

    Attributes:
        cells: those with the common variance.
        table: (m, n) their values, NaN where a seed is missing.
        design, fit: of `cells`.
        varying: {cell: a note}, those that vary more.
        outlying: {cell: a note} on the seed with the largest residual.
    """

    cells: tuple[str, ...]
    table: Array
    design: BlockDesign
    fit: BlockFit
    varying: Mapping[str, str]
    outlying: Mapping[str, str]

    @property
    def variance(self) -> float:
        return float(self.fit.variance[0])

    def notes_on(self, factors: Mapping[str, float]) -> tuple[str, ...]:
        return tuple(notes[cell] for notes in (self.varying, self.outlying) for cell in factors if cell in notes)

    def varies_more_p(self, cell: str) -> float:
        """P value of the F test whether a cell adds more to the squared residuals than the others have."""
        from scipy.special import fdtrc

        others = np.arange(len(self.cells)) != self.cells.index(cell)
        without = _design(self.design.present[others])
        added_df = self.design.df - without.df
        if without.df < 1 or added_df < 1:
            return 1.0
        rest = float(without.fit(self.table[None, others]).variance[0])
        added = self.variance * self.design.df - rest * without.df
        return float(fdtrc(added_df, without.df, max(added, 0.0) / added_df / rest)) if rest > 0 else 0.0


def _design(present: Array) -> BlockDesign:
    return _cached_design(present.shape, present.tobytes())


@lru_cache(maxsize=256)
def _cached_design(shape: tuple[int, int], present: bytes) -> BlockDesign:
    """Many contrasts of a report have the same seeds, and a design costs a decomposition."""
    return BlockDesign(np.frombuffer(present, bool).reshape(shape))


def _pool(values: Mapping[str, Seeds]) -> _Pool | None:
    """The common residual of a group; None where it has fewer than `FEWEST_CELLS` cells with two seeds."""
    kept = [cell for cell in values if len(values[cell]) > 1]
    varying: dict[str, str] = {}
    outlying: dict[str, str] = {}
    while len(kept) >= FEWEST_CELLS:
        seeds = sorted({seed for cell in kept for seed in values[cell]})
        table = np.array([[values[cell].get(seed, math.nan) for seed in seeds] for cell in kept])
        design = _design(~np.isnan(table))
        fit = design.fit(table[None])
        if (far := outlying_residual(design, fit)) is not None:
            outlying[kept[far.row]] = f"{kept[far.row]}: seed {seeds[far.seed]} {far.sentence}"
        p = upper_p(null_distribution(design).share, float(fit.share.max()))
        if p >= GROSSLY_UNEQUAL:
            return _Pool(tuple(kept), table, design, fit, varying, outlying)
        cell = kept.pop(int(fit.share[0].argmax()))
        varying[cell] = (
            f"{cell} varies more over seeds than the cells beside it ({100 * fit.share.max():.0f} % of the squared "
            f"residuals, p {p:.2g} under equal variances): tested alone"
        )
    return None
