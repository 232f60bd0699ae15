"""Split the contrast "more - less" into components: groups of cells that share their seeds, each with factors of sum 0.

The parts that cancel by themselves are the gains, or the whole contrast where it has none. The axes on which the cells
of one such part have no label in common are those that are compared (the method, as a rule). Parts whose cells have the
same labels on all other axes are one component, and so are parts that share a cell: their noise is not independent. The
residual of a component is that of all cells of its sweep which differ on the compared axes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from analysis.claims.sweep_cells import ClaimCell, SweepCells, common_labels
from analysis.spec.claim_sides import CellSide, FormSide, Side, terms
from c2d.core.errors import InputError

_ZERO = 1e-9
Terms = list[tuple[float, CellSide]]


@dataclass(frozen=True)
class CellComponent:
    """A component of a contrast.

    Attributes:
        factors: (factor, cell), none of them 0.
        pool: the cells whose residual measures the noise, those of `factors` among them.
    """

    factors: tuple[tuple[float, ClaimCell], ...]
    pool: tuple[ClaimCell, ...]

    @property
    def cells(self) -> tuple[ClaimCell, ...]:
        """The cells of the contrast."""
        return tuple(cell for _, cell in self.factors)


def contrast_components(
    more: Side, less: Side, find: Callable[[CellSide], ClaimCell], sweeps: Mapping[str, SweepCells]
) -> tuple[CellComponent, ...]:
    """Return the components of more - less.

    Args:
        find: the cell of a side.
        sweeps: the cells of every sweep of the two sides.

    Raises:
        InputError: factors that do not cancel, or two sides with the same runs.
    """
    whole = [*terms(more), *terms(less, -1.0)]
    total = math.fsum(factor for factor, _ in whole)
    if abs(total) > _ZERO:
        raise InputError(
            f"the factors of its cells add up to {total:g}, not to 0: a mean is compared with a difference, or with a "
            "sum of means; compare like with like, e.g. {gain: [A, B]} with {gain: [C, D]}"
        )
    parts = _parts(more, less)
    if any(abs(math.fsum(factor for factor, _ in part)) > _ZERO for part in parts):
        parts = [whole]
    known: dict[frozenset[str], ClaimCell] = {}
    found = [_summed(part, find, known) for part in parts]
    found = [part for part in found if part]
    if not found:
        raise InputError("both sides are the same runs, so there is nothing to compare; name other labels")
    varied = {axis for part in found for axis in _varied(part)}
    return tuple(_component(part, varied, sweeps) for part in _merged(found, varied))


Part = dict[ClaimCell, float]
"""{cell: factor}."""


def _parts(more: Side, less: Side) -> list[Terms]:
    parts: list[Terms] = []
    plain: Terms = []
    for factor, side in ((1.0, more), (-1.0, less)):
        _split(side, factor, parts, plain)
    return [*parts, *([plain] if plain else [])]


def _split(side: Side, factor: float, parts: list[Terms], plain: Terms) -> None:
    """Add the innermost gains of a side to `parts`, the cells outside of gains to `plain`."""
    if isinstance(side, CellSide):
        plain.append((factor, side))
    elif side.form == "gain" and not any(map(_has_gain, side.sides)):
        parts.append(list(terms(side, factor)))
    else:
        for own, inner in zip(side.factors, side.sides, strict=True):
            _split(inner, factor * own, parts, plain)


def _has_gain(side: Side) -> bool:
    return isinstance(side, FormSide) and (side.form == "gain" or any(map(_has_gain, side.sides)))


def _summed(part: Terms, find: Callable[[CellSide], ClaimCell], known: dict[frozenset[str], ClaimCell]) -> Part:
    """The factor of each cell; equal cells, of two sweeps too, are one."""
    summed: Part = {}
    for factor, side in part:
        cell = find(side)
        cell = known.setdefault(cell.planned_runs, cell)
        summed[cell] = summed.get(cell, 0.0) + factor
    return {cell: factor for cell, factor in summed.items() if abs(factor) > _ZERO}


def _varied(cells: Iterable[ClaimCell]) -> Iterator[str]:
    """Axes on which the cells of one sweep have no label in common."""
    found = list(cells)
    if len({cell.sweep for cell in found}) == 1:
        of_cells = [cell.group for cell in found]
        yield from (axis for axis in of_cells[0].labels if not common_labels(of_cells, axis))


def _merged(parts: Sequence[Part], varied: set[str]) -> list[Part]:
    merged: list[Part] = []
    for part in parts:
        same = [
            other for other in merged if other.keys() & part.keys() or _fixed(other, varied) == _fixed(part, varied)
        ]
        merged = [other for other in merged if not any(other is one for one in same)]
        summed: Part = {}
        for one in (*same, part):
            for cell, factor in one.items():
                summed[cell] = summed.get(cell, 0.0) + factor
        merged.append({cell: factor for cell, factor in summed.items() if abs(factor) > _ZERO})
    return [part for part in merged if part]


def _fixed(part: Part, varied: set[str]) -> object:
    """What parts of one component share; cells of several sweeps share it with no other part."""
    sweeps = {cell.sweep for cell in part}
    if len(sweeps) > 1:
        return object()
    of_cells = [cell.group for cell in part]
    axes = [axis for axis in of_cells[0].labels if axis not in varied]
    return sweeps, [(axis, common_labels(of_cells, axis)) for axis in axes]


def _component(part: Part, varied: set[str], sweeps: Mapping[str, SweepCells]) -> CellComponent:
    own = {cell.sweep for cell in part}
    cells = tuple(part)
    pool = tuple(sweeps[own.pop()].beside(cells, varied)) if len(own) == 1 else cells
    return CellComponent(tuple((factor, cell) for cell, factor in part.items()), pool)
