"""Text of a cell and of a header: the parts that LaTeX, Markdown and HTML share. Nothing here is escaped."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from analysis.tables.table import Cell, Column, Row
from c2d.markup.composed_text import math_source
from c2d.markup.label_text import parse_label

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class CellText:
    """One cell in parts; percent, or the unit of its column.

    Attributes:
        number: "37.4", "+1.2" or a dash.
        spread: "± 0.2", "[0.3, 2.1]" or "".
        n: number of seeds, "(3)" or "(2/3)"; "" where the caption has it.
        marks: of footnotes.
        bold: the best number of its column.
        published: the number is from a paper.
    """

    number: str
    spread: str = ""
    n: str = ""
    marks: tuple[str, ...] = ()
    bold: bool = False
    published: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether there is no number."""
        return self.number == DASH

    @property
    def plain(self) -> str:
        """The text without the marks: "37.4 ± 0.2 (3)"."""
        return " ".join(part for part in (self.number, self.spread, self.n) if part)


def format_number(value: float, digits: int, signed: bool = False) -> str:
    """Round a number as `format` does, with a real minus sign; a number that rounds to zero has no sign.

    Args:
        digits: after the decimal point.
        signed: whether a positive number gets a plus.
    """
    shown = f"{value:{'+' if signed else ''}.{digits}f}"
    if not any(digit in shown for digit in "123456789"):
        shown = shown.lstrip("+-")
    return shown.replace("-", MINUS)


def format_interval(low: float, high: float, digits: int) -> str:
    """Return "[0.3, 2.1]", with more digits where an end that is not 0 would read as 0.

    Whether an interval leaves out 0 is what it is read for: [0.02, 1.28] does, [0.0, 1.3] does not tell.

    Args:
        digits: after the decimal point of the column; at most three more are shown.
    """
    most = digits + 3
    while digits < most and any(end != 0 and float(f"{end:.{digits}f}") == 0 for end in (low, high)):
        digits += 1
    return f"[{format_number(low, digits)}, {format_number(high, digits)}]"


def p_value(p: float) -> str:
    """Return a p value as text: "0.012", or "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def header(column: Column) -> str:
    """Return the header of a column with its unit: "AP [%]", or "Δ AP [%] (publ.)" for a published difference."""
    unit, source = f"[{column.unit}]" if column.unit else "", source_note(column.kind)
    return " ".join(part for part in (heading(column), unit, f"({source})" if source else "") if part)


def source_note(kind: str) -> str:
    """Return the note of a header on published numbers: "publ.", "− publ." where they are subtracted, or "".

    Args:
        kind: of the column.
    """
    return "publ." if kind.startswith("published") else f"{MINUS} publ." if kind == "deviation" else ""


def heading(column: Column) -> str:
    """Return the label without unit and kind; a difference begins with a delta."""
    if column.kind.endswith("difference") and not column.label.startswith(("Δ", "∆")):
        return f"Δ {column.label}"
    return column.label


def marked_up(text: str, math: Mapping[str, str], escape: Callable[[str], str]) -> str:
    """Return a label in HTML, which is Markdown as well: its math in Unicode with <sub> and <sup>.

    Args:
        text: in Unicode.
        math: {label: the label as it was written}.
        escape: of the format.
    """
    source = math_source(text, math)
    if source is None:
        return escape(text)
    stretches = [stretch for piece in parse_label(source) for stretch in piece.shown]
    return "".join(
        escaped if one.place == "line" else f"<{one.place}>{escaped}</{one.place}>"
        for one in stretches
        for escaped in [_with_ends(one.text, escape)]
    )


def _with_ends(text: str, escape: Callable[[str], str]) -> str:
    """The escaped text with the blanks at its ends, which a format may strip."""
    return " " if text.isspace() else " " * text.startswith(" ") + escape(text.strip(" ")) + " " * text.endswith(" ")


def row_name(row: Row) -> str:
    """Return the name of a row in a sentence: "ssd300 / kd_cls"."""
    return row.alias or " / ".join(label for label in row.labels if label.strip()) or row.key


def cell_of(row: Row, column: Column) -> Cell:
    """Return the cell of a row in a column, or an empty missing one."""
    return row.cells.get(column.key) or Cell(kind="missing")


def is_missing(cell: Cell) -> bool:
    """Whether a cell has no finite number."""
    return cell.kind == "missing" or cell.value is None or not math.isfinite(cell.value)


def with_full_stop(text: str) -> str:
    """Add a full stop, if the text has no end yet."""
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?", ":")) else f"{text}."


def printable(text: str) -> str:
    """Replace what a text file cannot hold: control characters (but tab and line feed), surrogates, non-characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unprintable(char) else char for char in text)


def printable_line(text: str) -> str:
    """Return `printable` text as one line: every run of white space is one space."""
    return " ".join(printable(text).split())


def _is_unprintable(char: str) -> bool:
    if char in "\t\n":
        return False
    # Non-characters are U+FDD0 to U+FDEF and the last two code points of every plane (Unicode, section 23.7).
    return unicodedata.category(char) in ("Cc", "Cs") or ord(char) & 0xFFFE == 0xFFFE or "\ufdd0" <= char <= "\ufdef"
