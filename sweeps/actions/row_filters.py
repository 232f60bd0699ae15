"""`--filter axis=label`: several labels of one axis mean or, several axes mean and."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from c2d.core.errors import InputError, unknown_name
from c2d.core.sweep_manifest import PlannedRun
from c2d.specs.teachers import needed_runs
from sweeps.definition.expand import Grid
from sweeps.state.plan import Row

Filters = Mapping[str, Collection[str]]
"""{axis: labels}"""


def parse_filters(rows: Iterable[Row | PlannedRun], texts: Sequence[str]) -> dict[str, set[str]]:
    """Parse `axis=label` texts into {axis: labels}.

    Args:
        rows: rows whose cells define the axes and labels that exist.

    Raises:
        InputError: no `=`, or an axis or a label that no cell has.
    """
    if not texts:
        return {}
    labels: dict[str, set[str]] = {}
    for row in rows:
        for cell in row.cells:
            for axis, label in cell.items():
                labels.setdefault(axis, set()).add(label)
    filters: dict[str, set[str]] = {}
    for text in texts:
        axis, sign, label = text.partition("=")
        if not sign:
            raise InputError(f"--filter {text!r} is not axis=label; axes: {', '.join(sorted(labels)) or 'none'}")
        if axis not in labels:
            raise unknown_name("axis", axis, labels, "write --filter axis=label")
        if label not in labels[axis]:
            raise unknown_name(f"label of axis {axis}:", label, labels[axis])
        filters.setdefault(axis, set()).add(label)
    return filters


def matches(row: Row | PlannedRun, filters: Filters) -> bool:
    """Return whether one cell of the row has a wanted label on every filtered axis; False for a row without cells."""
    return not filters or any(all(cell.get(axis) in labels for axis, labels in filters.items()) for cell in row.cells)


def filter_rows(rows: Sequence[Row], texts: Sequence[str]) -> list[Row]:
    """Return the rows that match `axis=label` texts; all rows without a text.

    Raises:
        InputError: see `parse_filters`.
    """
    filters = parse_filters(rows, texts)
    return [row for row in rows if matches(row, filters)]


def filter_grid(grid: Grid, texts: Sequence[str]) -> Grid:
    """Return the cells of a grid that match `axis=label` texts, and the teachers that they and these teachers need.

    Raises:
        InputError: see `parse_filters`.
    """
    rows = [PlannedRun(cell.run, "student", ({**cell.labels, "seed": str(cell.seed)},)) for cell in grid.cells]
    filters = parse_filters(rows, texts)
    cells = [cell for cell, row in zip(grid.cells, rows, strict=True) if matches(row, filters)]
    planned = {teacher.id: teacher for teacher in grid.teachers}
    needed: set[str] = set()
    waiting = [run for cell in cells for run in needed_runs(cell.spec.teachers).values()]
    while waiting:
        run = waiting.pop()
        if run in planned and run not in needed:
            needed.add(run)
            waiting += needed_runs(planned[run].teachers).values()
    return replace(grid, cells=cells, teachers=[teacher for teacher in grid.teachers if teacher.id in needed])
