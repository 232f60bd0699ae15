"""Details of one cell of the page: the widths of its parts, its sort key and its full numbers."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.formats import cell_text
from analysis.tables.table import Cell, Column, Row


@dataclass(frozen=True)
class PartWidths:
    """Widths of the parts of one column, so that its numbers are aligned.

    Attributes:
        spread, n, marks: in widths of a digit (CSS unit ch); 0 where no cell has the part.
    """

    spread: float
    n: float
    marks: float


@dataclass(frozen=True)
class CellDetail:
    """One line of the list of full numbers, as text; "" for a missing value.

    Attributes:
        id: of the line in the page.
        row, column: names.
        value: in full precision, with its unit.
        sd: sample standard deviation over seeds.
        seeds: finished and planned.
        interval: 95 % interval.
        interval_method: name of the interval, or why there is none.
        test: name of the test, or why there is none.
        p, p_adjusted: p value of the row alone, and adjusted for its family.
        remarks: reason, source and footnotes.
        runs: ids.
        command: the `c2d explain` command of the cell.
    """

    id: str
    row: str
    column: str
    value: str
    sd: str
    seeds: str
    interval: str
    interval_method: str
    test: str
    p: str
    p_adjusted: str
    remarks: str
    runs: tuple[str, ...]
    command: str


def part_widths(column: Iterable[cell_text.CellText]) -> PartWidths:
    """Return the widest parts of all cells of one column."""
    found = [(_wide(one.spread), _wide(one.n), _wide(",".join(one.marks))) for one in column]
    return PartWidths(*(max(part) for part in zip(*found, strict=True))) if found else PartWidths(0, 0, 0)


def _wide(text: str) -> float:
    """In widths of a digit: signs are wider, brackets and stops narrower."""
    return round(sum(0.6 if char in " [](),./" else 1.25 if char in "±+\N{MINUS SIGN}" else 1.0 for char in text), 1)


def sort_key(cell: Cell) -> str:
    """Return the number as text that a script can read; "" where it is missing."""
    return "" if cell_text.is_missing(cell) else repr(cell.value)


def cell_detail(
    cell: Cell, column: Column, row: Row, name: str, id: str, notes: Iterable[str], file: str
) -> CellDetail:
    """Return the full numbers of a cell.

    Args:
        name: of the row, as sentences have it.
        id: of the line in the page.
        notes: sentences of the cell's footnotes.
        file: the table's file, the argument of `c2d explain`.
    """
    unit = f" {column.unit}" if column.unit else ""
    missing = cell_text.is_missing(cell)
    remarks = [cell.reason and f"missing: {cell.reason}", cell.source and f"published: {cell.source}"]
    remarks += [cell.cross_check, *(note for note in notes if note != cell.reason)]
    return CellDetail(
        id=id,
        row=name,
        column=cell_text.header(column),
        value="missing" if missing else f"{cell.value!r}{unit}",
        sd="" if cell.sd is None else repr(cell.sd),
        seeds=f"{cell.n} of {max(cell.n, cell.n_planned)}" if cell.n or cell.n_planned else "",
        interval="" if cell.low is None or cell.high is None else f"[{cell.low!r}, {cell.high!r}]",
        interval_method=cell.interval,
        test=cell.test,
        p="" if cell.p is None else repr(cell.p),
        p_adjusted="" if cell.p_adjusted is None else repr(cell.p_adjusted),
        remarks="; ".join(remark for remark in remarks if remark),
        runs=cell.runs,
        command=" ".join(["c2d explain", *map(shlex.quote, (file, row.key, column.key))]),
    )
