"""Text of a cell and of a header: the parts that LaTeX, Markdown and HTML share. Nothing here is escaped."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from analysis.tables.table import Cell, Column, Row

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
PUBLISHED = "(publ.)"


@dataclass(frozen=True)
class CellText:
    """One cell in parts. number: "37.4", "+1.2" or a dash. spread: "± 0.2", "[0.3, 2.1]" or "". n: "(3)", "(2/3)" or
    "". marks: of footnotes."""

    number: str
    spread: str = ""
    n: str = ""
    marks: tuple[str, ...] = ()
    bold: bool = False
    published: bool = False

    @property
    def is_missing(self) -> bool:
        return self.number == DASH

    @property
    def plain(self) -> str:
        """All but the marks: "37.4 ± 0.2 (3)"."""
        return " ".join(part for part in (self.number, self.spread, self.n) if part)


def format_number(value: float, digits: int, signed: bool = False) -> str:
    """Rounded as `format` rounds, with a real minus sign; what rounds to zero has no sign."""
    shown = f"{value:{'+' if signed else ''}.{digits}f}"
    if not any(digit in shown for digit in "123456789"):
        shown = shown.lstrip("+-")
    return shown.replace("-", MINUS)


def p_value(p: float) -> str:
    """ "0.012", or "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def header(column: Column) -> str:
    """ "Δ AP [%] (publ.)": what the number is, its unit, and whether it was published elsewhere."""
    unit = f"[{column.unit}]" if column.unit else ""
    return " ".join(part for part in (heading(column), unit, PUBLISHED if column.is_published else "") if part)


def heading(column: Column) -> str:
    """The label without unit and kind; a difference begins with a delta."""
    if column.kind.endswith("difference") and not column.label.startswith(("Δ", "∆")):
        return f"Δ {column.label}"
    return column.label


def row_name(row: Row) -> str:
    """A row in a sentence: "ssd300 / kd_cls"."""
    return " / ".join(label for label in row.labels if label.strip()) or row.key


def cell_of(row: Row, column: Column) -> Cell:
    """The cell, or an empty missing one."""
    return row.cells.get(column.key) or Cell(kind="missing")


def is_missing(cell: Cell) -> bool:
    return cell.kind == "missing" or cell.value is None or not math.isfinite(cell.value)


def with_full_stop(text: str) -> str:
    """With a full stop, if it has no end yet."""
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?", ":")) else f"{text}."


def printable(text: str) -> str:
    """What a text file can hold: no control characters (but tab and line feed), surrogates or non-characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unprintable(char) else char for char in text)


def printable_line(text: str) -> str:
    """Clean, and every run of white space one space."""
    return " ".join(printable(text).split())


def _is_unprintable(char: str) -> bool:
    if char in "\t\n":
        return False
    return unicodedata.category(char) in ("Cc", "Cs") or ord(char) & 0xFFFE == 0xFFFE or "\ufdd0" <= char <= "\ufdef"
