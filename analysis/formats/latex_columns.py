"""The columns of a table in LaTeX: numbers with what follows them, p values as stars or as a column, their width."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.formats.cell_text import CellText, cell_of, p_value
from analysis.formats.latex_width import BOTH_COLUMNS, ONE_COLUMN, column_pt, label_pt, table_pt
from analysis.formats.text import TableText
from analysis.tables.table import Cell, Column, Table

WIDE_LABEL = 30
"""A longer label is set in several lines of about this many letters."""
WIDE_HEADER = 18
MANY_COLUMNS = 6
"""More columns than this get less space between them."""
FEW_PT, USUAL_PT = 4, 6
"""Spaces on both sides of a column: `\\tabcolsep`."""
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
"""(p below which a difference has the stars, the stars)."""


@dataclass(frozen=True)
class TexColumn:
    """A column of the table in LaTeX.

    Attributes:
        column: whose numbers it has.
        cells: one a row, differences with their stars.
        tailed: whether something follows a number.
        p: one text a row for the column of p values; () without one.
    """

    column: Column
    cells: tuple[CellText, ...]
    tailed: bool
    p: tuple[str, ...] = ()


def width_note(table: Table, parts: Sequence[TexColumn]) -> str:
    """Return a sentence on a table that is wider than its place in a two-column paper; "" where it fits."""
    columns = [label_pt(table, axis, WIDE_LABEL) for axis in range(len(table.row_axes))]
    for part in parts:
        columns += column_pt(part.column, part.cells, part.p, WIDE_HEADER)
    width = table_pt(columns, FEW_PT if len(table.columns) > MANY_COLUMNS else USUAL_PT)
    place = BOTH_COLUMNS if table.tex_wide else ONE_COLUMN
    if width <= place:
        return ""
    fix = "" if table.tex_wide else f" `wide: true` in its spec spans both columns ({BOTH_COLUMNS} pt);"
    where = "both columns have" if table.tex_wide else "one column of a paper has"
    return (
        f"About {width:.0f} pt wide, {where} {place} pt: "
        f"scaled to {100 * place / width:.0f} % there;{fix} fewer columns are larger."
    )


def tex_columns(table: Table, content: TableText) -> list[TexColumn]:
    """Return the columns of a table in their order."""
    out = []
    for column in table.columns:
        cells = [content.cells[at, column.key] for at in range(len(table.rows))]
        ps = [_adjusted_p(cell_of(row, column)) if column.kind == "difference" else None for row in table.rows]
        if table.tex_p == "stars":
            cells = [
                dataclasses.replace(cell, marks=(*_stars(p), *cell.marks)) for cell, p in zip(cells, ps, strict=True)
            ]
        in_column = table.tex_p == "column" and any(p is not None for p in ps)
        texts = tuple("" if p is None else p_value(p) for p in ps) if in_column else ()
        tailed = not column.is_text and any(map(_has_tail, cells))
        out.append(TexColumn(column, tuple(cells), tailed, texts))
    return out


def _adjusted_p(cell: Cell) -> float | None:
    return cell.p if cell.p_adjusted is None else cell.p_adjusted


def _stars(p: float | None) -> tuple[str, ...]:
    return () if p is None else next(((stars,) for limit, stars in STARS if p < limit), ())


def _has_tail(shown: CellText) -> bool:
    return not shown.is_missing and bool(shown.spread or shown.n or shown.marks)


def stars_sentence(table: Table) -> str:
    """Return the footnote on stars; "" where no difference was tested."""
    cells = [cell_of(row, column) for row in table.rows for column in table.columns if column.kind == "difference"]
    if table.tex_p != "stars" or all(_adjusted_p(cell) is None for cell in cells):
        return ""
    limits = ", ".join(rf"\textsuperscript{{{stars}}}\,\ensuremath{{p < {limit}}}" for limit, stars in reversed(STARS))
    adjusted = ", adjusted" if any(cell.p_adjusted is not None for cell in cells) else ""
    return rf"{limits}{adjusted}; without a star \ensuremath{{p \geq 0.05}} or no test.\quad"
