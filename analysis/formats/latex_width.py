r"""Estimated width of a LaTeX table in points, without LaTeX: within 10 % of what pdflatex sets in Computer Modern.

The sizes are those of a paper in 10 pt: numbers in 9 pt (`\small`), what follows them in 7 pt (`\scriptsize`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analysis.formats.cell_text import CellText, heading, source_note
from analysis.tables.table import Column, Table

ONE_COLUMN = 241
"""Width of a column of a two-column paper (IEEE: 252 pt, CVPR: 237 pt, ACM: 241 pt)."""
BOTH_COLUMNS = 506
_SMALL, _SCRIPT = 9.25, 7.95  # small fonts of Computer Modern are wider for their size
_NARROW = dict.fromkeys(".,:;'|!il[]()tfjr", 0.29) | dict.fromkeys(" ", 0.33)
_WIDE = dict.fromkeys("mwMW±−+=×≈<>∼", 0.79)


def text_pt(text: str, size: float) -> float:
    """Return the width of one line of text, pt.

    Args:
        size: of the font, pt.
    """
    return size * sum(_NARROW.get(char) or _WIDE.get(char) or (0.7 if char.isupper() else 0.5) for char in text)


def label_pt(table: Table, axis: int, bound: int) -> float:
    """Return the width of a label column, pt; labels above `bound` letters are set in several lines."""
    texts = [table.headings[axis], *(row.labels[axis] for row in table.rows if axis < len(row.labels))]
    return _bounded(texts, bound)


def column_pt(column: Column, cells: Sequence[CellText], p: Sequence[str], bound: int) -> list[float]:
    """Return the widths of a column of numbers, with what follows them, and of its p values, pt.

    Args:
        column: for its header; one above `bound` letters is set in several lines.
        cells: one a row.
        p: texts of the p values; () without such a column.
    """
    number = max((text_pt(cell.number, _SMALL) for cell in cells), default=0.0)
    tails = [" ".join(filter(None, (cell.spread, cell.n))) + ",".join(cell.marks) for cell in cells]
    tail = max((text_pt(text, _SCRIPT) for text in tails), default=0.0)
    below = f"[{column.unit}] {source_note(column.kind)}" if column.unit else source_note(column.kind)
    head = max(_bounded([heading(column)], bound), text_pt(below, _SCRIPT))
    own = max(head, number + (tail + 2.5 if tail else 0.0))
    return [own, max(text_pt(text, _SMALL) for text in p)] if p else [own]


def table_pt(columns: Sequence[float], between: float) -> float:
    r"""Return the width of a table with columns of these widths, pt.

    Args:
        between: `\tabcolsep`, pt.
    """
    return sum(columns) + 2 * between * max(len(columns) - 1, 0)


def _bounded(texts: Iterable[str], bound: int) -> float:
    lengths = [(text_pt(text, _SMALL), len(text)) for text in texts]
    return max((width if length <= bound else bound / 2 * _SMALL for width, length in lengths), default=0.0)
