"""Values that the templates of the page loop over. A template decides the layout; all texts are decided here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from analysis.formats import cell_text, text
from analysis.loading.failure_list import Failure
from analysis.page import cells, inline_svg
from analysis.page.page_model import RUN_COLUMNS, PageFigure, RunColumn
from analysis.tables.table import Row, Table

LARGEST_CSV = 20_000
"""Characters of one figure's data."""
LISTED = ("run", "cells", "seed", "state", "AP")
"""Columns that stay in the list of runs even where all runs have the same value."""


@dataclass(frozen=True)
class CellView:
    """One cell of a table.

    Attributes:
        shown: its text.
        id: of its line in the list of full numbers.
        sort: see `cells.sort_key`.
    """

    shown: cell_text.CellText
    id: str
    sort: str


@dataclass(frozen=True)
class TableView:
    """One table.

    Attributes:
        table: as data.
        id: of its article.
        content: its text, as in the other formats.
        statistics, tests: the paragraphs of `content` on these.
        rows: (row, its cells, whether it begins a group).
        widths: one a column.
        details: one a cell.
        axes: {place of the label column: labels} of the axes with more than one label.
        facts: (name of a row, its values of the ledger's differing facts).
    """

    table: Table
    id: str
    content: text.TableText
    statistics: list[str]
    tests: list[tuple[str, str]]
    rows: list[tuple[Row, list[CellView], bool]]
    widths: list[cells.PartWidths]
    details: list[cells.CellDetail]
    axes: dict[int, list[str]]
    facts: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class FigureView:
    """One figure.

    Attributes:
        figure: as given.
        id: of its article.
        svg: the element; "" where there is no drawing.
        note: why there is no drawing, or a warning.
        csv: all of its data, or the first lines of it.
        rest: a sentence on the lines that are left out; "" where there are none.
    """

    figure: PageFigure
    id: str
    svg: Markup
    note: str
    csv: str
    rest: str


def table_view(table: Table, place: int, file: str) -> TableView:
    """Return the view of one table.

    Args:
        place: of the table in the page, from 0.
        file: its file, the argument of `c2d explain`.
    """
    content = text.table_text(table)
    names = text.row_names(table)
    rows, details = [], []
    for r, row in enumerate(table.rows):
        line = []
        for c, column in enumerate(table.columns):
            shown, cell, id = content.cells[r, column.key], cell_text.cell_of(row, column), f"t{place}r{r}c{c}"
            notes = [content.notes.get(mark, mark) for mark in shown.marks]
            line.append(CellView(shown, id, cells.sort_key(cell)))
            details.append(cells.cell_detail(cell, column, row, names[row.key], id, notes, file))
        begins = r > 0 and len(row.labels) > 1 and row.labels[0] != table.rows[r - 1].labels[0]
        rows.append((row, line, begins))
    labels = {k: list(dict.fromkeys(row.labels[k] for row in table.rows)) for k in range(len(table.row_axes))}
    return TableView(
        table=table,
        id=f"table-{place + 1}",
        content=content,
        statistics=[sentence for head, sentence in content.under if head == "Statistics"],
        tests=[(head, sentence) for head, sentence in content.under if head.startswith("p of ")],
        rows=rows,
        widths=[cells.part_widths(line[c].shown for _, line, _ in rows) for c in range(len(table.columns))],
        details=details,
        axes={k: found for k, found in labels.items() if len(found) > 1},
        facts=[
            (names[row.key], [values.get(row.key, "") for values in table.ledger.differs.values()])
            for row in table.rows
        ],
    )


def figure_views(figures: Sequence[PageFigure]) -> list[FigureView]:
    """Return the views of all figures."""
    return [_figure_view(figure, place, *_drawn(figure, place)) for place, figure in enumerate(figures)]


def _drawn(figure: PageFigure, place: int) -> tuple[str, str]:
    """(element, "") or ("", why not)."""
    if not figure.svg:
        return "", ""
    label = figure.alt or figure.caption or figure.title or figure.name
    try:
        return inline_svg.inline(figure.svg, f"f{place}-", f"#figure-{place + 1} svg", label), ""
    except inline_svg.InvalidSvg as error:
        return "", f"The drawing could not be shown: {error}"


def _figure_view(figure: PageFigure, place: int, svg: str, why_not: str) -> FigureView:
    beside = f"; see {', '.join(figure.files)}" if figure.files else ""
    note = " ".join(part for part in (figure.note, why_not and f"{why_not}{beside}.") if part)
    csv, rest = figure.csv, ""
    if len(csv) > LARGEST_CSV:
        csv = csv[: csv.rfind("\n", 0, LARGEST_CSV) + 1]
        rest = f"The first {csv.count(chr(10))} of {figure.csv.count(chr(10))} lines{beside}."
    return FigureView(figure, f"figure-{place + 1}", Markup(svg), note, csv, rest)


def group_failures(failures: Sequence[Failure]) -> list[tuple[str, list[Failure]]]:
    """Group failures by class, the most frequent class first."""
    found: dict[str, list[Failure]] = {}
    for failure in failures:
        found.setdefault(failure.failure_class or "unknown", []).append(failure)
    return sorted(found.items(), key=lambda item: -len(item[1]))


def run_columns(runs: Sequence[Mapping[str, Any]]) -> tuple[list[RunColumn], dict[RunColumn, str]]:
    """Choose the columns of the list of runs: those of `RUN_COLUMNS` in their order, then the others as they appear.

    Returns:
        (columns of the list, {column: its value} of the columns with one value in all runs). A column that no run has a
        value for is in neither.
    """
    used = dict.fromkeys(key for run in runs for key, value in run.items() if value_text(value))
    known = {column.key: column for column in RUN_COLUMNS}
    columns = [known[key] for key in known if key in used] + [RunColumn(key, key) for key in used if key not in known]
    same = {
        column: run_cell(runs[0], column)[0]
        for column in columns
        if len(runs) > 1 and column.key not in LISTED and len({value_text(run.get(column.key)) for run in runs}) == 1
    }
    return [column for column in columns if column not in same], same


def run_cell(run: Mapping[str, Any], column: RunColumn) -> tuple[str, str]:
    """Return (text, sort key) of one value."""
    text = value_text(run.get(column.key))
    if column.key == "code":
        text = short_commit(text)
    if column.digits is None or not text:
        return text, text
    try:
        shown = float(text) * column.scale
    except ValueError:
        return text, ""
    return cell_text.format_number(shown, column.digits), repr(shown)


def run_ids(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return {run: id of its line in the list}; of a run with two lines the first."""
    ids: dict[str, str] = {}
    for place, run in enumerate(runs):
        ids.setdefault(value_text(run.get("run")), f"run-{place + 1}")
    return ids


def short_commit(code: str) -> str:
    """Shorten a commit to its first twelve digits; the mark of changed files stays."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,}", r"\1", code)


def value_text(value: Any) -> str:
    """Return a value as text; "" for None and for the missing values of pandas."""
    if value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    return str(value)
