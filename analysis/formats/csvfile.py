"""A table as tidy CSV: one line a cell, full precision, run ids. The csv dialect "excel", lines end with a line feed.

    table,row,<one column per row axis>,column,label,unit,kind,value,sd,n,promised,low,high,interval,p,p_adjusted,test,
    family,cross_check,bold,near_best,reason,notes,runs,files,source

A table of contrasts has two more columns at the end: quantity, the key of the runs' number, and factors, one a run.

`row` and `column` are the keys that `c2d explain` takes. Numbers are written so that they read back exactly. `kind` is
that of the column. `notes` holds the sentences, not the marks; `runs`, and `files` with one name a run, are separated
by spaces (a space inside one is written %20, a percent sign %25). An axis whose name is taken by another column, or
empty, is axis.<number>.<name>.

A text field that a spreadsheet would run as a formula has an apostrophe in front (`c2d.markup.formula_guard`);
`read` removes it again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from analysis.formats.cell_text import cell_of, with_full_stop
from analysis.tables.table import Row, Table
from c2d.core.errors import InputError
from c2d.markup.formula_guard import guard, unguard

BEFORE = ("table", "row")
NUMBERS = ("value", "sd", "n", "promised", "low", "high", "p", "p_adjusted", "family")
AFTER = (
    *("column", "label", "unit", "kind", "value", "sd", "n", "promised", "low", "high", "interval", "p", "p_adjusted"),
    *("test", "family", "cross_check", "bold", "near_best", "reason", "notes", "runs", "files", "source"),
)
OF_CONTRASTS = ("quantity", "factors")
"""Behind `AFTER`, where a cell has factors."""


def write(table: Table) -> str:
    """Return the CSV text of a table."""
    more = OF_CONTRASTS if any(cell.factors for row in table.rows for cell in row.cells.values()) else ()
    lines = [[*BEFORE, *(guard(axis) for axis in axes(table)), *AFTER, *more]]
    lines += (line if more else line[: -len(OF_CONTRASTS)] for row in table.rows for line in _lines(table, row))
    out = _Lines()
    csv.writer(out, lineterminator="\r\n").writerows(lines)
    return out.text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no UTF-8


def read(text: str) -> list[dict[str, str]]:
    """Read the cells of a CSV text, without the apostrophes of `guard`.

    Returns:
        One dict a cell, {header: text}; `run_ids` splits the field `runs`.

    Raises:
        InputError: no CSV, other columns than `write` gives, or a line of another length.
    """
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InputError(f"no CSV table: {error}; expected a file that c2d report has written") from None
    header = [unguard(name) for name in lines[0]] if lines else []
    end = header[: -len(OF_CONTRASTS)] if tuple(header[-len(OF_CONTRASTS) :]) == OF_CONTRASTS else header
    if tuple(header[:2]) != BEFORE or tuple(end[-len(AFTER) :]) != AFTER:
        raise InputError(f"no CSV table of c2d report: its columns are {', '.join(header[:8]) or 'none'}")
    short = next((at for at, line in enumerate(lines[1:], 2) if len(line) != len(header)), None)
    if short is not None:
        raise InputError(f"a damaged CSV table: line {short} does not have {len(header)} fields; run c2d report again")
    return [
        {name: field if name in NUMBERS else unguard(field) for name, field in zip(header, line, strict=True)}
        for line in lines[1:]
    ]


def axes(table: Table) -> list[str]:
    """Return the headers of the label columns, each one unique in the file."""
    taken = {*BEFORE, *AFTER}
    out = []
    for at, axis in enumerate(table.row_axes):
        header = axis if axis and axis not in taken else f"axis.{at}.{axis}"
        while header in taken:
            header += "."
        taken.add(header)
        out.append(header)
    return out


def runs_field(runs: tuple[str, ...]) -> str:
    """Join run ids to one field; HTML uses it as well."""
    return " ".join("".join(_percent(char) for char in run) for run in runs)


def run_ids(field: str) -> tuple[str, ...]:
    """Split the field of `runs_field` into run ids."""
    return tuple(unquote(run) for run in field.split(" ") if run)


def factors(cell: Mapping[str, str]) -> tuple[float, ...]:
    """Return the factors of a cell of `read`, one a run; () where it is no contrast."""
    return tuple(map(float, cell.get("factors", "").split()))


def _percent(char: str) -> str:
    return f"%{ord(char):02X}" if char in " %\t\r\n" else char


def _lines(table: Table, row: Row) -> Iterator[list[str]]:
    for column in table.columns:
        cell = cell_of(row, column)
        texts = [table.name, row.key, *_labels(table, row), column.key, column.label, column.unit, column.kind]
        numbers = [exact(cell.value), exact(cell.sd), str(cell.n), str(cell.n_planned)]
        numbers += [exact(cell.low), exact(cell.high)]
        notes = " ".join(with_full_stop(table.notes.get(mark, mark)) for mark in cell.notes)
        test = [guard(cell.interval), exact(cell.p), exact(cell.p_adjusted), guard(cell.test)]
        test += [str(cell.family or ""), guard(cell.cross_check)]
        rest = [cell.reason, notes, runs_field(cell.runs), runs_field(cell.files), cell.source]
        best = ["true" if flag else "false" for flag in (cell.bold, cell.near_best)]
        of_contrast = [cell.quantity, " ".join(map(exact, cell.factors))]
        yield [*map(guard, texts), *numbers, *test, *best, *map(guard, rest), *map(guard, of_contrast)]


def _labels(table: Table, row: Row) -> tuple[str, ...]:
    """Exactly one label an axis: missing ones are "", further ones are left out."""
    return (*row.labels, *("" for _ in table.row_axes))[: len(table.row_axes)]


def exact(number: float | None) -> str:
    """Return a number in full precision; "" for None."""
    return "" if number is None else repr(float(number))


class _Lines:
    """Target of `csv.writer`. It quotes a carriage return only if lines end with one, so they do, and lose it here."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def write(self, line: str) -> None:
        self._parts.append(line.removesuffix("\r\n") + "\n")

    @property
    def text(self) -> str:
        return "".join(self._parts)
