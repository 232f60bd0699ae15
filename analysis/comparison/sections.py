"""Titled tables of short texts, as lines of text and as HTML."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

from c2d.core.printable import printable_line

_WIDTH = 100


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        title: one line.
        header: of the columns; empty for none.
        rows: texts; the first column is a name, and so are all without a header.
        note: below the table.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def text_of(sections: Iterable[Section]) -> str:
    """Return the sections as lines of text, with an empty line between them."""
    blocks = []
    for section in sections:
        lines = [section.title, *_aligned(section)]
        lines += [f"  {line}" for line in wrap(section.note, _WIDTH - 2, break_long_words=False)]
        blocks.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(blocks)


def html_of(sections: Iterable[Section]) -> str:
    """Return the sections as HTML without styles, for a notebook."""
    parts = []
    for section in sections:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in section.header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in section.rows)
        note = f"<p><small>{escape(section.note)}</small></p>" if section.note else ""
        table = f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
        parts.append(f"<p><strong>{escape(section.title)}</strong></p>{table}{note}")
    return f"<div>{''.join(parts)}</div>"


def _aligned(section: Section) -> list[str]:
    table = [list(map(printable_line, row)) for row in (*([section.header] if section.header else []), *section.rows)]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)] if table else []
    names = 1 if section.header else len(widths)
    return [
        "  " + "  ".join(
            cell + " " * (width - _width(cell)) if at < names else " " * (width - _width(cell)) + cell
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]  # fmt: skip


def _width(text: str) -> int:
    """Columns of a terminal: letters of East Asia take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )
