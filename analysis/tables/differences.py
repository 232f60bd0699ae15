"""A row minus its baseline, seed by seed, with interval and test; Holm over all differences of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from analysis.stats.multiple_comparisons import holm
from analysis.stats.seed_statistics import paired, unpaired
from analysis.tables.aggregate import FEW, FEW_NOTE, Samples
from analysis.tables.table import Cell

UNPAIRED = "no seed in common with the baseline: compared unpaired"


def missing_difference(reason: str) -> Cell:
    """Return a cell without a difference: of the baseline itself, or of a row that has none."""
    return Cell(kind="missing", reason=reason)


def difference_cell(row: Samples, baseline: Samples) -> Cell:
    """Return the difference over the seeds that both rows have; over all seeds, unpaired, where they share none."""
    n_planned = len(set(row.planned_seeds) & set(baseline.planned_seeds))
    if not row.values:
        return Cell(kind="missing", n_planned=n_planned, reason=row.reason)
    if not baseline.values:
        return Cell(kind="missing", n_planned=n_planned, reason=f"its baseline has no value ({baseline.reason})")
    common = sorted(row.values.keys() & baseline.values.keys())
    if common:
        difference = paired([row.values[seed] for seed in common], [baseline.values[seed] for seed in common])
        runs = [row.runs[seed] for seed in common] + [baseline.runs[seed] for seed in common]
        sd, notes = difference.sd, []
    else:
        difference = unpaired(list(row.values.values()), list(baseline.values.values()))
        runs = [*row.runs.values(), *baseline.runs.values()]
        sd, notes = None, [UNPAIRED]
    if difference.n < FEW:
        notes.append(FEW_NOTE)
    return Cell(
        value=difference.mean,
        n=difference.n,
        n_planned=n_planned or max(len(row.planned_seeds), len(baseline.planned_seeds)),
        sd=sd,
        low=difference.low,
        high=difference.high,
        interval=difference.interval,
        p=difference.p,
        test=difference.test,
        notes=tuple(notes),
        runs=tuple(runs),
    )


def holm_corrected(cells: Sequence[Cell]) -> list[Cell]:
    """Add Holm's p over all cells: one family of tests is one table."""
    adjusted = holm([cell.p for cell in cells])
    family = sum(p is not None for p in adjusted)
    return [
        cell
        if p is None
        else dataclasses.replace(cell, p_adjusted=p, significant=p < 0.05, family=family, test=f"{cell.test}, Holm")
        for cell, p in zip(cells, adjusted, strict=True)
    ]


def performed_tests(cells: Sequence[Cell]) -> tuple[list[str], int]:
    """Return (names of the tests in the cells, number of tests)."""
    tests = [cell.test for cell in cells if cell.p is not None]
    return sorted(set(tests)), len(tests)
