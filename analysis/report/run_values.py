"""A run's own number behind a cell, read from the file that has it, and the difference of each seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.loading.columns import QUANTITIES, Quantity
from analysis.loading.latency import numbers_of_file
from analysis.tables.seeds_needed import seeds_table
from c2d.core.regular_file import Problem

PREFIXES = ("delta.", "gap.", "per.", "deviation.", *seeds_table.PREFIXES)
"""Of the keys of columns that are computed from the numbers of runs."""


@dataclass(frozen=True)
class RunValue:
    """The number of one run.

    Attributes:
        value: in the column's unit; None where the run has none.
        conditions: what a latency was measured under; "" for other numbers.
        problem: why a latency file that the table used has no number any more.
    """

    value: float | None
    conditions: str = ""
    problem: str = ""


@dataclass(frozen=True)
class SeedDifference:
    """The difference of one seed.

    Attributes:
        seed: of both runs.
        run, baseline: ids.
        value, baseline_value: numbers of the two runs.
        difference: value minus baseline_value.
    """

    seed: int
    run: str
    baseline: str
    value: float
    baseline_value: float
    difference: float


def quantity_of(column: str) -> Quantity | None:
    """Return the quantity of a column of a table, of its differences, gap or deviation; None for a published number."""
    prefix = next((one for one in PREFIXES if column.startswith(one)), "")
    return QUANTITIES.get(column.removeprefix(prefix))


def run_value(folder: Path, row: Mapping[Any, Any], quantity: Quantity | None, file: str) -> RunValue:
    """Return the number of a run as it is in the store now.

    Args:
        folder: of the run.
        row: of the frame.
        file: in the folder, which had the number when the table was written; "" where the table does not name it.
    """
    if quantity is None:
        return RunValue(None)
    if quantity.column:
        return RunValue(_finite(quantity.scale, row.get(quantity.column)))
    if not file:
        return RunValue(None, problem="the table does not name the latency file; write the report again")
    found = numbers_of_file(folder / file, str(row["run"]))
    if isinstance(found, Problem):
        return RunValue(None, problem=f"{found.path} {found.message}")
    conditions = ", ".join(filter(None, [str(found["device"]), str(found["conditions"])]))
    return RunValue(_finite(quantity.scale, found[quantity.latency_column]), conditions)


def seed_differences(runs: Sequence[tuple[str, int | None, float | None]], pairs: int) -> list[SeedDifference]:
    """Return the difference of each seed of a paired comparison; [] where the runs are not paired.

    Args:
        runs: (id, seed, value), first those of the row, then those of its baseline.
        pairs: number of seeds that both have.
    """
    mine, theirs = runs[:pairs], runs[pairs:]
    if len(mine) != len(theirs) or any(a[1] is None or a[1] != b[1] for a, b in zip(mine, theirs, strict=True)):
        return []
    return [
        SeedDifference(seed, run, baseline, value, other, value - other)
        for (run, seed, value), (baseline, _, other) in zip(mine, theirs, strict=True)
        if seed is not None and value is not None and other is not None
    ]


def _finite(scale: float, stored: Any) -> float | None:
    number = float(stored) if isinstance(stored, int | float) else math.nan
    return scale * number if math.isfinite(number) else None
