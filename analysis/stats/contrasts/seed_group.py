"""Cells that share their seeds, and the residual that they have in common.

The residual is that of cells and seeds (`analysis.stats.block_design`). Two tests look for cells whose variance is not
that of the others:

  - Cochran's C, level `GROSSLY_UNEQUAL`: such a cell leaves the residual, so that it does not widen other intervals;
  - for each cell an F test of what it adds to the squared residuals of the others, level `VARIES_MORE`: a contrast with
    such a cell is tested alone. It is exact under normal noise, also if seeds are missing, because what a cell adds is
    orthogonal to the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from analysis.stats.block_design import BlockDesign, BlockFit, null_distribution, upper_p
from analysis.stats.common_residual import GROSSLY_UNEQUAL, Seeds, outlying_residual
from analysis.stats.seed_statistics import finite_array
from c2d.metrics.coco_data import Array

VARIES_MORE = 0.1
"""Level of the F test of one cell. Higher than that of tables, because a sentence is read without its table; what other
levels would give is in docs/results/statistics.md."""
FEWEST_CELLS = 3
"""Cells of a group whose residual says more than one difference of two of them."""


class SeedGroup:
    """Cells that share their seeds. Several contrasts of one group share its residual, which is computed once.

    Attributes:
        values: {cell: {seed: value}}.
    """

    def __init__(self, values: Mapping[str, Seeds]) -> None:
        """Check the values.

        Args:
            values: {cell: {seed: value}}; a cell may have none.

        Raises:
            InputError: a value that is not finite.
        """
        for cell, of_cell in values.items():
            if of_cell:
                finite_array(list(of_cell.values()), cell)
        self.values = values

    @cached_property
    def residual(self) -> GroupResidual | None:
        """The common residual; None where fewer than `FEWEST_CELLS` cells have two seeds."""
        return _group_residual(self.values)


@dataclass(frozen=True)
class GroupResidual:
    """The residual of the cells of a group that have one variance.

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
    _p: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def variance(self) -> float:
        """Residual variance."""
        return float(self.fit.variance[0])

    def notes_on(self, factors: Mapping[str, float]) -> tuple[str, ...]:
        """Return the notes on the cells of a contrast."""
        return tuple(notes[cell] for notes in (self.varying, self.outlying) for cell in factors if cell in notes)

    def note_on_variance(self, cell: str) -> str:
        """Return a sentence on a cell that adds more to the squared residuals than the others have; "" for none."""
        if cell not in self._p:
            self._p[cell] = self._f_test(cell)
        p = self._p[cell]
        sentence = f"{cell} varies more over seeds than the cells beside it (F test, p {p:.2g}): tested alone"
        return sentence if p < VARIES_MORE else ""

    def _f_test(self, cell: str) -> float:
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


def _group_residual(values: Mapping[str, Seeds]) -> GroupResidual | None:
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
            return GroupResidual(tuple(kept), table, design, fit, varying, outlying)
        cell = kept.pop(int(fit.share[0].argmax()))
        varying[cell] = (
            f"{cell} varies more over seeds than the cells beside it ({100 * fit.share.max():.0f} % of the squared "
            f"residuals, p {p:.2g} under equal variances): tested alone"
        )
    return None
