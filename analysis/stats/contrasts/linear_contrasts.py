"""Linear contrasts of cells over seeds: sums of means with factors that add up to 0, as "a - b" or "(a - b) - (c - d)".

A contrast has one component for each group of cells that share their seeds. In a component the effect of a seed
cancels, and the residual of all cells of the group together (`seed_group`) measures the noise:

  estimate   mean over the seeds that all cells of the component have of sum(factor x value)
  variance   residual variance x sum(factor^2) / seeds, with the degrees of freedom of the residual
  alone      the variance of sum(factor x value) over seeds, with seeds - 1, where the residual does not fit

It does not fit where a cell of the contrast varies more than the cells beside it.

Components are independent of each other, as their cells share no student or no data. Their variances are added, with
the degrees of freedom of Welch and Satterthwaite (Satterthwaite 1946, Biometrics Bulletin 2, 110-114).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.stats.common_residual import Seeds
from analysis.stats.contrasts.seed_group import GroupResidual, SeedGroup
from analysis.stats.seed_statistics import SAME
from c2d.core.errors import InputError
from c2d.metrics.coco_data import Array


@dataclass(frozen=True)
class Component:
    """A part of a contrast inside one group.

    Attributes:
        factors: {cell: factor}, which sum to 0.
        group: that has these cells, and others beside them.
    """

    factors: Mapping[str, float]
    group: SeedGroup


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
        parts = [(part.per_seed / seeds, part.df + part.df_per_seed * (seeds - part.seeds)) for part in self.parts]
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
    whole = ContrastEstimate(value, n, parts, found[0].test, used, notes)
    if len(found) == 1:
        return whole
    return dataclasses.replace(whole, test=f"Welch-Satterthwaite t of {len(found)} groups, {whole.df:.1f} df")


def _estimate(at: int, component: Component) -> ContrastEstimate:
    factors = {cell: factor for cell, factor in component.factors.items() if factor}
    if abs(math.fsum(factors.values())) > SAME * sum(map(abs, factors.values())):
        raise InputError(
            f"the factors {factors} of a contrast sum to {math.fsum(factors.values()):g}; they have to sum to 0"
        )
    values = component.group.values
    for cell in factors:
        if not values.get(cell):
            raise InputError(f"{cell}: no value; leave the contrast out until it has one")
    common = sorted(set.intersection(*(set(values[cell]) for cell in factors)))
    if len(common) < 2 and all(len(values[cell]) > 1 for cell in factors):
        return _unpaired(at, factors, values)
    if not common:
        return ContrastEstimate(None, 0, (), "none: no seed in common, and one seed on a side")
    per_seed = np.array([[values[cell][seed] for cell in factors] for seed in common])
    sums = per_seed @ np.array(list(factors.values()))
    used = {(at, cell, seed): factor / len(common) for cell, factor in factors.items() for seed in common}
    value = float(sums.mean())
    if len(common) == 1:
        return ContrastEstimate(value, 1, (), "none: one seed", used)
    part, test, notes = _variance(factors, component.group.residual, common, sums, float(np.abs(per_seed).max()))
    return ContrastEstimate(value, len(common), (part,) if part else (), test, used, notes)


def _variance(
    factors: Mapping[str, float],
    pool: GroupResidual | None,
    common: Sequence[int],
    sums: Array,
    scale: float,
) -> tuple[VariancePart | None, str, tuple[str, ...]]:
    """(the variance of a component, the name of its test, notes)."""
    n = len(common)
    alone = 0.0 if np.ptp(sums) <= SAME * scale else float(sums.var(ddof=1))
    if pool is None or not all(cell in pool.cells for cell in factors):
        notes = pool.notes_on(factors) if pool else ()
        return _alone(n, alone, notes)
    notes = pool.notes_on(factors)
    if pool.variance <= (SAME * scale) ** 2:
        return None, "none: no spread", notes
    if varying := [note for cell in factors if (note := pool.note_on_variance(cell))]:
        return _alone(n, alone, (*notes, *varying))
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
    value, parts = 0.0, list[VariancePart]()
    used: dict[tuple[int, str, int], float] = {}
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
