"""The smoke form of a whole sweep: the cells of its first seed, and their teachers before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from c2d.core.sweep_manifest import PlannedRun
from c2d.specs.names import look_up_names, names_in
from c2d.specs.spec import RunSpec
from c2d.specs.teachers import needed_runs
from sweeps.actions.row_filters import parse_filters
from sweeps.definition.definition import Definition
from sweeps.definition.expand import Cell, Grid, expand
from sweeps.smoke.smoke_data import SmokeData
from sweeps.smoke.smoke_spec import smoke_spec


@dataclass(frozen=True)
class SmokeGrid:
    """A sweep in its smoke form.

    Attributes:
        definition: the sweep.
        grid: its cells of one seed, and their teachers in an order in which they can be trained.
        real: {run id: spec of the real run} of both; of equal smoke runs the first.
    """

    definition: Definition
    grid: Grid
    real: dict[str, RunSpec]

    def specs(self) -> dict[str, RunSpec]:
        """Return {run id: spec} of all runs, teachers first."""
        return {spec.id: spec for spec in self.grid.teachers} | {cell.run: cell.spec for cell in self.grid.cells}


def smoke_grid(definition: Definition, runs: Path, data: SmokeData, filters: Sequence[str] = ()) -> SmokeGrid:
    """Expand a definition, and return its smoke form.

    Args:
        definition: of the sweep.
        runs: the smoke store, which keeps students and weight files that are given as files.
        data: makes the generated data sets.
        filters: `axis=label` texts: only these cells; several labels of one axis mean or, several axes mean and.

    Raises:
        InputError: a cell is wrong, or a filter names no cell.
    """
    cells = definition.cells()
    names = names_in(cell.values for cell in cells)
    found = replace(look_up_names(names, runs, data.real), datasets=data.references(names.datasets))
    real = expand(definition, cells, replace(found, data_free=frozenset()))
    chosen = _chosen([cell for cell in real.cells if cell.seed == definition.seeds[0]], filters)
    needed = _needed([cell.spec for cell in chosen], real.teachers)
    ids: dict[str, str] = {}
    originals: dict[str, RunSpec] = {}

    def smoke(spec: RunSpec) -> RunSpec:
        small = smoke_spec(spec, ids)
        ids[spec.id] = small.id
        originals.setdefault(small.id, spec)
        return small

    teachers = {small.id: small for spec in real.teachers if spec.id in needed for small in [smoke(spec)]}
    small_cells = [Cell(cell.labels, small.seed, small, small.id) for cell in chosen for small in [smoke(cell.spec)]]
    return SmokeGrid(definition, Grid(small_cells, list(teachers.values())), originals)


def _chosen(cells: list[Cell], filters: Sequence[str]) -> list[Cell]:
    wanted = parse_filters((PlannedRun(cell.run, "student", (cell.labels,)) for cell in cells), filters)
    return [cell for cell in cells if all(cell.labels.get(axis) in labels for axis, labels in wanted.items())]


def _needed(specs: Sequence[RunSpec], teachers: Sequence[RunSpec]) -> set[str]:
    """Return the ids of the teachers of specs, and of what these need in turn."""
    by_id = {spec.id: spec for spec in teachers}
    needed: set[str] = set()
    left = list(specs)
    while left:
        new = set(needed_runs(left.pop().teachers).values()) - needed
        needed |= new
        left += [by_id[run] for run in new if run in by_id]
    return needed
