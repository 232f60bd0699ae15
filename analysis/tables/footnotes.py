"""Footnotes: cells carry sentences while a table is built; here equal sentences become one mark."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from analysis.tables.aggregate import FEW_NOTE
from analysis.tables.table import Cell, Column, Row

FEW = "\N{DAGGER}"
"""The mark of cells with few seeds; all others are letters."""


def number(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[tuple[Row, ...], dict[str, str]]:
    """(the rows with marks for sentences, {mark: sentence} in the order in which a reader meets them)."""
    marks: dict[str, str] = {}

    def marked(cell: Cell) -> Cell:
        for sentence in cell.notes:
            marks.setdefault(sentence, FEW if sentence == FEW_NOTE else letters(len(marks.keys() - {FEW_NOTE})))
        return dataclasses.replace(cell, notes=tuple(dict.fromkeys(marks[sentence] for sentence in cell.notes)))

    done = tuple(
        dataclasses.replace(row, cells={column.key: marked(row.cells[column.key]) for column in columns})
        for row in rows
    )
    return done, {mark: sentence for sentence, mark in marks.items()}


def letters(place: int) -> str:
    """a ... z, aa, ab, ...: the mark of the footnote at that place, from 0."""
    mark = ""
    place += 1
    while place:
        place, letter = divmod(place - 1, 26)
        mark = chr(ord("a") + letter) + mark
    return mark


def add(row: Row, column: str, sentences: Sequence[str]) -> Row:
    """The row with sentences at one of its cells; what concerns a whole row stands at its first."""
    cell = row.cells[column]
    noted = dataclasses.replace(cell, notes=(*cell.notes, *sentences))
    return dataclasses.replace(row, cells={**row.cells, column: noted})
