"""Gap closed of a table: where each row lies between a control row (0 %) and a reference row (100 %), with interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from analysis.loading.columns import quantity
from analysis.spec.table_spec import GapSpec
from analysis.stats.gap_closed import gap_closed
from analysis.tables.aggregate import FEW, FEW_NOTE, Found, Samples
from analysis.tables.groups import Group, baseline_of
from analysis.tables.table import Cell
from c2d.core.errors import unknown_name

GAP = "gap."
"""Prefix of the keys of gap columns."""


def compared_rows(spec: GapSpec, rows: Sequence[Group]) -> dict[str, tuple[Group, Group]]:
    """Return {row key: (its control, its reference)}, whose other labels are those of the row.

    A row without both is left out.

    Raises:
        InputError: the spec names an axis or a label that no row has.
    """
    for what, labels in (("control", spec.control), ("reference", spec.reference)):
        for axis, label in labels.items():
            axes = rows[0].labels
            if axis not in axes:
                raise unknown_name(
                    f"axis of gap.{what}", axis, axes, "the gap is between rows, so name an axis of `rows`"
                )
            known = dict.fromkeys(label for row in rows for label in sorted(row.values(axis)))
            if label not in known:
                raise unknown_name(f"label of gap.{what} on axis {axis}", label, known, "it must be among the rows")
    found = {}
    for row in rows:
        control, reference = (baseline_of(row, rows, labels) for labels in (spec.control, spec.reference))
        if control is not None and reference is not None:
            found[row.key] = (control, reference)
    return found


def gap_cells(
    spec: GapSpec, rows: Sequence[Group], compared: Mapping[str, tuple[Group, Group]], found: Found
) -> Iterator[tuple[str, str, Cell]]:
    """Yield (row key, column key, cell) of every gap column.

    Args:
        rows: of the table.
        compared: of `compared_rows`.
        found: the numbers of the rows.
    """
    controls, references = ({pair[place].key for pair in compared.values()} for place in (0, 1))
    for row in rows:
        for key in spec.columns:
            if row.key in controls | references:
                which = "control (0 %)" if row.key in controls else "reference (100 %)"
                cell = Cell(kind="missing", reason=f"the {which} of the gap closed")
            elif row.key not in compared:
                cell = Cell(kind="missing", reason="the table has no control and reference for this row")
            else:
                together = (row, *compared[row.key])
                cell = _cell([found[one.key][key] for one in together], quantity(key).better)
            yield row.key, GAP + key, cell


def _cell(samples: Sequence[Samples], better: str) -> Cell:
    n_planned = len(set.intersection(*(set(one.planned_seeds) for one in samples)))
    for name, one in zip(("", "its control", "its reference"), samples, strict=True):
        if not one.values:
            reason = f"{name} has no value ({one.reason})" if name else one.reason
            return Cell(kind="missing", n_planned=n_planned, reason=reason)
    row, control, reference = (one.values for one in samples)
    closed = gap_closed(row, control, reference, better)
    if closed.value is None:
        return Cell(kind="missing", n_planned=n_planned, reason=closed.reason)
    seeds = sorted(set.intersection(*(set(one.values) for one in samples)))
    runs = [(one.runs[seed], one.files) for one in samples for seed in seeds]
    return Cell(
        value=100 * closed.value,
        n=closed.n,
        n_planned=n_planned,
        low=None if closed.low is None else 100 * closed.low,
        high=None if closed.high is None else 100 * closed.high,
        interval=closed.interval,
        notes=(FEW_NOTE,) if closed.n < FEW else (),
        runs=tuple(run for run, _ in runs),
        files=tuple(files[run] for run, files in runs) if all(run in files for run, files in runs) else (),
    )


def sentences(spec: GapSpec, cells: Sequence[Cell]) -> Iterator[str]:
    """Yield the sentences on the gap closed, below a table.

    Args:
        cells: of all gap columns.
    """
    control, reference = (
        ", ".join(f"{axis} {label}" for axis, label in labels.items()) for labels in (spec.control, spec.reference)
    )
    yield (
        f"Gap closed: (row - control) / (reference - control) of the means over the seeds that all three have; control "
        f"is the row with {control}, reference that with {reference}"
    )
    intervals = sorted({cell.interval for cell in cells if cell.low is not None})
    if intervals:
        yield (
            f"Its interval ({', '.join(intervals)}) is for other seeds of the same three rows, of each row by itself; "
            "without a significant gap there is no share of it"
        )
