"""Deviation of the measured mean from the published number, and whether that number could be one more run of the row.

A published number is one training run, as a rule. So it is compared with the interval of one more run, not with that of
the mean, which it would leave too often (`analysis.stats.seed_statistics.one_more_run`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from analysis.spec.table_spec import TableSpec
from analysis.stats.seed_statistics import one_more_run
from analysis.tables.aggregate import FEW, FEW_NOTE, Samples
from analysis.tables.table import Cell

DEVIATION = "deviation."
"""Prefix of the keys of these cells and columns."""
OUTSIDE = "the published number is outside the 95 % interval of one more run with another seed"
NO_INTERVAL = "no interval of one more run"


def compared_columns(spec: TableSpec) -> list[str]:
    """Return the keys of the columns whose measured and published numbers are both shown."""
    return [key for key in spec.columns if spec.published is not None and key in spec.published.columns]


def shown_deviations(spec: TableSpec) -> list[str]:
    """Return the keys of the compared columns whose deviation has a column of its own."""
    return [key for key in compared_columns(spec) if spec.published is not None and key in spec.published.deviations]


def marked_if_outside(published: Cell, deviation: Cell) -> Cell:
    """Return a published cell, with a note where its number could not be one more run.

    Args:
        published: the cell.
        deviation: of `deviation_cell`.
    """
    return dataclasses.replace(published, notes=(*published.notes, *[OUTSIDE] * (deviation.significant is True)))


def deviation_cell(found: Samples, published: Cell) -> Cell:
    """Return the cell of measured mean - published number, in the shown unit.

    Its interval is that of one more run, minus the published number, so it holds 0 exactly when the published number
    lies in the interval of one more run. `significant` is True where it does not.

    Args:
        found: the numbers of the row.
        published: the published cell beside it.
    """
    n_planned = len(found.planned_seeds)
    if published.value is None or not found.values:
        reason = published.reason if published.value is None else found.reason
        return Cell(kind="missing", n_planned=n_planned, reason=reason)
    seeds = sorted(found.values)
    run = one_more_run([found.values[seed] for seed in seeds])
    cell = Cell(
        value=run.mean - published.value,
        n=run.n,
        n_planned=n_planned,
        interval=run.interval,
        notes=(FEW_NOTE,) if run.n < FEW else (),
        runs=tuple(found.runs[seed] for seed in seeds),
        files=tuple(found.files[found.runs[seed]] for seed in seeds) if found.files else (),
        source=published.source,
    )
    if run.low is None or run.high is None:
        return dataclasses.replace(cell, notes=(*cell.notes, f"{NO_INTERVAL} ({run.interval.removeprefix('none: ')})"))
    outside = not run.low <= published.value <= run.high
    return dataclasses.replace(
        cell,
        low=run.low - published.value,
        high=run.high - published.value,
        significant=outside,
    )


def sentences(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield the sentences on deviations, below a table.

    Args:
        cells: of all compared columns.
    """
    there = [cell for cell in cells if cell.value is not None]
    if not there:
        return
    inside = [cell.significant is False for cell in there if cell.significant is not None]
    if inside:
        yield (
            f"{sum(inside)} of {len(inside)} published numbers lie in the 95 % interval of one more run (mean ± t sd "
            "sqrt(1 + 1/n)), which a number that was measured once leaves in 5 % of the cases if nothing but the seed "
            "differs; the others are marked"
        )
