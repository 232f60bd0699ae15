"""A table as GitHub Markdown: best numbers bold, published ones in italics under a header with (publ.)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from analysis.formats.cell_text import CellText, header, marked_up, printable_line, with_full_stop
from analysis.formats.text import TableText, table_text
from analysis.tables.table import Column, Row, Table

# On GitHub $ begins math, ! an image, and bare addresses and @names become links.
_SPECIAL = re.compile(r"[\\`*{}\[\]#|~$!]")
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # one inside a word is no emphasis and stays readable
_LINKS = re.compile(r"://|www\.|@", re.IGNORECASE)
_LISTS = re.compile(r"^(\d+)([.)])|^([-+=:])")


def write(table: Table) -> str:
    """Return the Markdown text: a heading, the caption, the table, its footnotes, statistics and ledger."""
    content = table_text(table)
    lines = [f"### {escape(table.title or table.name)}", ""]
    if content.caption:
        lines += [escape(" ".join(content.caption)), ""]
    heads = [*table.headings, *(header(column) for column in table.columns)]
    lines += [_line(marked_up(head, table.math, escape) for head in heads)]
    lines += [_line([*(":---" for _ in table.row_axes), *("---:" for _ in table.columns)])]
    lines += (_row(table, at, row, content) for at, row in enumerate(table.rows))
    notes = [f"- {_sup((mark,))} {escape(with_full_stop(sentence))}" for mark, sentence in content.notes.items()]
    under = [f"- **{escape(head)}:** {escape(sentence)}" for head, sentence in content.under]
    for block in (notes, under):
        lines += ["", *block] if block else []
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Escape text to one line in which nothing is markup, a link, a list or the end of a cell."""
    text = _SPECIAL.sub(r"\\\g<0>", printable_line(text))
    text = _UNDERSCORE.sub(r"\\_", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _LINKS.sub(lambda found: re.sub(r"[:/.@]", r"\\\g<0>", found[0]), text)
    return _LISTS.sub(lambda found: f"{found[1]}\\{found[2]}" if found[1] else f"\\{found[3]}", text)


def _row(table: Table, at: int, row: Row, content: TableText) -> str:
    labels = [marked_up(label, table.math, escape) for label in row.labels]
    return _line([*labels, *(_cell(content.cells[at, column.key], column) for column in table.columns)])


def _cell(shown: CellText, column: Column) -> str:
    number = f"**{shown.number}**" if shown.bold else shown.number
    text = " ".join(part for part in (number, shown.spread, shown.n) if part)
    if column.is_published and not shown.is_missing:
        text = f"*{text}*"
    return text + (_sup(shown.marks) if shown.marks else "")


def _sup(marks: Iterable[str]) -> str:
    return f"<sup>{','.join(escape(mark) for mark in marks)}</sup>"


def _line(fields: Iterable[str]) -> str:
    return "| " + " | ".join(fields) + " |"
