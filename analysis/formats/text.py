"""Text of a table that LaTeX, Markdown and HTML share. Nothing here is escaped.

A measured cell is "37.4 ± 0.2 (3)": mean, sample standard deviation over seeds, number of seeds. Where all cells have
the same n and no seed is missing, only the caption has n. An unfinished cell has (2/3); fewer than three seeds get a
dagger. Without a standard deviation, an interval is shown in its place. A difference has its sign and its interval:
"+1.2 [0.3, 2.1]"; its p is in a sentence under the table, by name and value, never as stars. A contrast looks like a
difference; its 95 % interval alone and its p are cells beside it. A deviation from a published number has its sign
alone. A missing value is a dash with its reason in a footnote.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from analysis.formats.cell_text import (
    DASH,
    CellText,
    cell_of,
    format_interval,
    format_number,
    heading,
    is_missing,
    p_value,
    row_name,
    with_full_stop,
)
from analysis.tables.table import Cell, Column, Table

FEW = "\N{DAGGER}"
FEW_MEANS = "fewer than three seeds"
LEDGER = ("Same for all rows", "Differs between rows")
"""Heads of the ledger's paragraphs."""
P_OF = "p of "
"""Begin of the heads of the paragraphs on p values."""
MANY_P = 40
"""More p values than this are not listed under a table; CSV, JSON and HTML have them all."""


@dataclass(frozen=True)
class TableText:
    """A table as text.

    Attributes:
        cells: {(number of the row, key of the column): text of the cell}.
        notes: {mark: sentence}, those of the table first.
        caption: sentences after the title.
        under: (head, sentence) paragraphs below the notes.
    """

    cells: dict[tuple[int, str], CellText]
    notes: dict[str, str]
    caption: tuple[str, ...]
    under: tuple[tuple[str, str], ...]


def table_text(table: Table) -> TableText:
    """Return the text of a table for the three readable formats."""
    same_n = common_n(table)
    notes = dict(table.notes)
    cells = {}
    for at, row in enumerate(table.rows):
        for column in table.columns:
            cell = cell_of(row, column)
            cells[at, column.key] = _shown(cell, column, row.is_baseline, same_n is not None, notes)
    if FEW in notes and FEW not in table.notes:
        notes[FEW] = notes.pop(FEW)  # behind the letters
    return TableText(cells, notes, tuple(_caption(table, cells, same_n)), tuple(_under(table, notes)))


def common_n(table: Table) -> int | None:
    """Return the number of seeds where all measured cells have the same one and no seed is missing, else None."""
    found = {
        (cell.n, max(cell.n, cell.n_planned))
        for row in table.rows
        for column in table.columns
        for cell in [cell_of(row, column)]
        if not column.is_published and not is_missing(cell) and (cell.n or cell.n_planned)
    }
    n, n_planned = found.pop() if len(found) == 1 else (0, 1)
    return n if n == n_planned else None


def _shown(cell: Cell, column: Column, is_baseline: bool, n_in_caption: bool, notes: dict[str, str]) -> CellText:
    marks = list(cell.notes)

    def mark(sentence: str, wanted: str = "") -> None:
        found = next((mark for mark, text in notes.items() if text == sentence), "")
        found = found or (wanted if wanted and wanted not in notes else next(_unused(notes)))
        notes.setdefault(found, sentence)
        if found not in marks:
            marks.append(found)

    differs = column.kind.endswith("difference") or column.kind == "gain per cost"
    if is_missing(cell):
        # The baseline has no difference to itself, which needs no footnote.
        # A published number that is missing has its footnote beside.
        if cell.reason and not (is_baseline and differs) and column.kind != "deviation":
            mark(cell.reason)
        return CellText(DASH, marks=tuple(marks), published=column.is_published)
    assert cell.value is not None
    if column.kind == "p value":
        return CellText(p_value(cell.value), marks=tuple(marks))
    if column.kind == "interval":
        assert cell.low is not None
        assert cell.high is not None
        return CellText(format_interval(cell.low, cell.high, column.digits), marks=tuple(marks))
    spread = ""
    if cell.sd is not None and not column.is_signed:
        spread = f"± {format_number(cell.sd, column.digits)}"
    elif cell.low is not None and cell.high is not None and column.kind != "deviation":
        spread = format_interval(cell.low, cell.high, column.digits)
    elif cell.interval and column.kind in ("difference", "gap closed", "gain per cost", "contrast"):
        mark(f"no interval: {cell.interval.removeprefix('none: ')}")
    n = ""
    if not column.is_published and (cell.n or cell.n_planned):
        n = "" if n_in_caption else f"({cell.n})" if cell.n >= cell.n_planned else f"({cell.n}/{cell.n_planned})"
        if cell.n < 3 and FEW not in marks:
            mark(FEW_MEANS, FEW)
    bold = cell.bold and not column.is_published
    return CellText(
        format_number(cell.value, column.digits, column.is_signed),
        spread,
        n,
        tuple(marks),
        bold,
        column.is_published,
    )


def _unused(notes: Mapping[str, str]) -> Iterator[str]:
    """Marks a, b, ..., z, aa, ... that no note has."""
    letters = string.ascii_lowercase
    return (mark for length in range(1, 99) for letter in letters if (mark := letter * length) not in notes)


def _caption(table: Table, cells: Mapping[tuple[int, str], CellText], same_n: int | None) -> Iterator[str]:
    if table.caption.strip():
        yield with_full_stop(table.caption)
    has_sd = any(shown.spread.startswith("±") for shown in cells.values())
    if any(shown.n for shown in cells.values()):
        mean = "Mean ± standard deviation" if has_sd else "Mean"
        yield f"{mean} over seeds, their number in parentheses."
    elif same_n is not None:
        seeds = "1 seed" if same_n == 1 else f"{same_n} seeds"
        yield f"Mean ± standard deviation over {seeds}." if has_sd else f"n = {seeds} in every cell."


def _under(table: Table, notes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if table.statistics:
        yield "Statistics", " ".join(with_full_stop(sentence) for sentence in table.statistics)
    yield from _tests(table)
    names = row_names(table)
    if table.ledger.same:
        yield LEDGER[0], with_full_stop("; ".join(f"{fact}: {value}" for fact, value in table.ledger.same.items()))
    if table.ledger.differs:
        facts = (f"{fact}: {_by_value(values, names)}" for fact, values in table.ledger.differs.items())
        yield LEDGER[1], with_full_stop("; ".join(facts))
    mixed_protocols = [sentence for sentence in table.ledger.mixed if sentence not in notes.values()]
    if mixed_protocols:
        yield "Mixed protocols", " ".join(with_full_stop(sentence) for sentence in mixed_protocols)


def row_names(table: Table) -> dict[str, str]:
    """Return {key: name} of the rows; the key itself where two rows read alike."""
    names = [row_name(row) for row in table.rows]
    return {row.key: row.key if names.count(name) > 1 else name for row, name in zip(table.rows, names, strict=True)}


def _tests(table: Table) -> Iterator[tuple[str, str]]:
    """One paragraph a difference column: p of every row, and why the others have none."""
    names = row_names(table)
    for column in table.columns:
        if column.kind != "difference":
            continue
        tested: dict[str, list[str]] = {}
        untested: dict[str, list[str]] = {}
        for row in table.rows:
            cell = cell_of(row, column)
            p = cell.p if cell.p_adjusted is None else cell.p_adjusted
            if p is not None:
                tested.setdefault(cell.test, []).append(f"{names[row.key]} {p_value(p)}")
            elif cell.test and not is_missing(cell):
                untested.setdefault(cell.test.removeprefix("none: "), []).append(names[row.key])
        sentences = [f"{kind}: {', '.join(rows)}" for kind, rows in tested.items()]
        if sum(map(len, tested.values())) > MANY_P:
            sentences = [f"{kind}: {len(rows)} tests, see the CSV" for kind, rows in tested.items()]
        sentences += [f"not tested ({why}): {', '.join(rows)}" for why, rows in untested.items()]
        if sentences:
            yield f"{P_OF}{heading(column)}", with_full_stop("; ".join(sentences))


def _by_value(values: Mapping[str, str], names: Mapping[str, str]) -> str:
    """ "0.02 (kd_cls), otherwise 0.01"; a value that one row alone has names its row. "" is of a row without runs."""
    rows: dict[str, list[str]] = {}
    for key, value in values.items():
        if value:
            rows.setdefault(value, []).append(names.get(key, key))
    most = max(rows, key=lambda value: len(rows[value]), default="")
    if len(values) < len(names) or len(rows.get(most, ())) < 2:
        most = ""
        return ", ".join(f"{value} ({', '.join(of)})" for value, of in rows.items())
    entries = [f"{value} ({', '.join(of)})" for value, of in rows.items() if value != most]
    return ", ".join([*entries, f"otherwise {most}"])
