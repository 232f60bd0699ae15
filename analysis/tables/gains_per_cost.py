"""Columns with what each row gains over its baseline for each unit of extra cost: AP per extra hour of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.loading.columns import quantity
from analysis.spec.labels import label_of_column
from analysis.spec.table_spec import PerCostSpec, TableSpec
from analysis.stats.gain_per_cost import gain_per_cost
from analysis.tables.aggregate import FEW, FEW_NOTE, Found, Samples
from analysis.tables.groups import Group
from analysis.tables.table import Cell, Column
from c2d.core.errors import InputError

PER = "per."
"""Prefix of the keys of these columns."""


def check_per_cost(spec: TableSpec) -> None:
    """Check that a table with such columns has a baseline.

    Raises:
        InputError: it has none.
    """
    if spec.per_cost and not spec.baseline:
        raise InputError("per_cost is a gain over a baseline and the table has none; add baseline: {axis: label}")


def per_cost_column(spec: TableSpec, per: PerCostSpec, key: str, digits: int) -> Column:
    """Return the column of a number."""
    number, cost = quantity(key), quantity(per.cost)
    label = f"Δ{label_of_column(spec, key)} per extra {_word(per.cost)}"
    unit = f"{number.unit}/{cost.unit}" if number.unit else f"1/{cost.unit}"
    return Column(PER + key, label, unit if cost.unit else number.unit, digits, "gain per cost", number.better)


def per_cost_cells(
    per: PerCostSpec, rows: Sequence[Group], baselines: Sequence[Group | None], found: Found
) -> Iterator[tuple[str, str, Cell]]:
    """Yield (row key, column key, cell) of every such column.

    Args:
        rows: of the table.
        baselines: the row that each is compared with.
        found: the numbers of the rows.
    """
    for row, baseline in zip(rows, baselines, strict=True):
        for key in per.columns:
            if baseline is None or baseline is row:
                reason = "baseline" if baseline is row else "no row of the table is its baseline"
                cell = Cell(kind="missing", reason=reason)
            else:
                cell = _cell([found[one.key][of] for of in (key, per.cost) for one in (row, baseline)])
            yield row.key, PER + key, cell


def _cell(samples: Sequence[Samples]) -> Cell:
    n_planned = len(set.intersection(*(set(one.planned_seeds) for one in samples)))
    for name, one in zip(("", "its baseline", "", "its baseline"), samples, strict=True):
        if not one.values:
            return Cell(kind="missing", n_planned=n_planned, reason=f"{name} has no value ({one.reason})".strip())
    row, baseline, row_cost, baseline_cost = (one.values for one in samples)
    found = gain_per_cost(row, baseline, row_cost, baseline_cost)
    if found.value is None:
        return Cell(kind="missing", n_planned=n_planned, reason=found.reason)
    seeds = sorted(set.intersection(*(set(one.values) for one in samples)))
    return Cell(
        value=found.value,
        n=found.n,
        n_planned=n_planned,
        low=found.low,
        high=found.high,
        interval=found.interval,
        notes=(FEW_NOTE,) if found.n < FEW else (),
        runs=tuple(one.runs[seed] for one in samples[:2] for seed in seeds),
    )


def sentences(per: PerCostSpec, cells: Sequence[Cell]) -> Iterator[str]:
    """Yield the sentences on the gain per cost, below a table.

    Args:
        cells: of all such columns.
    """
    yield (
        f"Gain per extra {_word(per.cost)}: the difference to the baseline divided by the difference in {per.cost}, of "
        "the means over the seeds that both have; the training of a teacher, which serves many runs, is not in it"
    )
    intervals = sorted({cell.interval for cell in cells if cell.low is not None})
    if intervals:
        yield f"Its interval ({', '.join(intervals)}) is for other seeds of the row and its baseline"


def _word(cost: str) -> str:
    return {
        "train_hours": "hour",
        "elapsed_hours": "hour",
        "train_minutes": "minute",
        "train_cpu_hours": "CPU hour",
        "train_cpu_minutes": "CPU minute",
    }.get(cost, cost)
