"""A table as aligned text for a terminal, which `print(table)` shows. What other formats show bold is between stars."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from unicodedata import combining, east_asian_width

from analysis.formats.cell_text import CellText, header, marked_up, printable_line, with_full_stop
from analysis.formats.text import table_text
from analysis.tables.table import Table

WIDTH = 100
"""Columns of the lines under the table."""


def write(table: Table) -> str:
    """Return the text: title, caption, the table in columns, its footnotes, statistics and ledger."""
    content = table_text(table)
    lines = [printable_line(table.title or table.name), *_wrapped("", " ".join(content.caption)), ""]
    heads = [*table.headings, *(header(column) for column in table.columns)]
    rows = [[marked_up(head, table.math, printable_line) for head in heads]]
    for at, row in enumerate(table.rows):
        labels = [marked_up(label, table.math, printable_line) for label in row.labels]
        rows.append([*labels, *(_cell(content.cells[at, column.key]) for column in table.columns)])
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    for row_texts in rows:
        padded = [
            text + " " * (width - _width(text)) if at < len(table.headings) else " " * (width - _width(text)) + text
            for at, (text, width) in enumerate(zip(row_texts, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    for block in (
        [(f"{mark} ", with_full_stop(sentence)) for mark, sentence in content.notes.items()],
        [(f"{head}: ", sentence) for head, sentence in content.under],
    ):
        lines += ["", *(line for begin, sentence in block for line in _wrapped(begin, sentence))] if block else []
    if any(shown.bold for shown in content.cells.values()):
        lines += ["", "Between stars: bold."]
    return "\n".join(lines) + "\n"


def _cell(shown: CellText) -> str:
    number = f"*{shown.number}*" if shown.bold else shown.number
    return " ".join(part for part in (number, shown.spread, shown.n, ",".join(shown.marks)) if part)


def _wrapped(begin: str, text: str) -> Iterator[str]:
    yield from textwrap.wrap(begin + printable_line(text), WIDTH, subsequent_indent="  ", break_long_words=False)


def _width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return sum(0 if combining(char) else 1 + (east_asian_width(char) in "WF") for char in text)
