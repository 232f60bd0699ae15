"""Split a figure that would be taller than a page, or whose series would share colours, into several.

Rows of one student stay together as far as possible, and a student's baseline is in each of its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.plots.series_panels import PANELS_FROM
from analysis.plots.style import PALETTE

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Limits:
    """What one figure can show.

    Attributes:
        rows: largest number of rows.
        students: largest number of students, where each has a panel.
        colors: whether colours distinguish the rows, so that no two methods of a figure may share one.
        column: whose values are the rows.
    """

    rows: int
    students: int = 1_000
    colors: bool = True
    column: str = "row"


@dataclass(frozen=True)
class _Row:
    name: str
    student: str
    method: str
    color: int
    baseline: bool


def figure_parts(data: pd.DataFrame, limits: Limits) -> list[pd.DataFrame]:
    """Return the frames of the figures that show all rows; `data` itself where one figure is enough.

    Args:
        data: frame of a figure. Lines without a row (the images of a sheet of detections) are in every part.
        limits: of its kind.
    """
    rows = _rows(data, limits.column)
    if _fits(rows, limits):
        return [data]
    chunks: list[list[_Row]] = []
    for student in dict.fromkeys(row.student for row in rows):
        mine = [row for row in rows if row.student == student]
        chunks += _chunks(mine, limits)
    packed: list[list[_Row]] = []
    for chunk in chunks:
        if packed and _fits([*packed[-1], *chunk], limits) and not {row.name for row in chunk} & _names(packed[-1]):
            packed[-1] += chunk
        else:
            packed.append(list(chunk))
    texts = data[limits.column].astype(str)
    return [data[texts.isin(_names(chunk)) | (texts == "")].reset_index(drop=True) for chunk in packed]


def _chunks(rows: Sequence[_Row], limits: Limits) -> list[list[_Row]]:
    """The rows of one student in figures, its baseline first in each."""
    base = [row for row in rows if row.baseline][:1]
    chunks: list[list[_Row]] = [[]]
    for row in rows:
        if chunks[-1] and not _fits([*chunks[-1], row], limits):
            chunks.append([] if row.baseline else list(base))
        chunks[-1].append(row)
    return chunks


def _fits(rows: Sequence[_Row], limits: Limits) -> bool:
    if len(rows) > limits.rows:
        return False
    if len(rows) >= PANELS_FROM and len({row.student for row in rows}) > limits.students:
        return False
    methods = {(row.method, row.color) for row in rows}
    return not limits.colors or len({color % len(PALETTE) for _, color in methods}) == len(methods)


def _names(rows: Iterable[_Row]) -> set[str]:
    return {row.name for row in rows}


def _rows(data: pd.DataFrame, column: str) -> list[_Row]:
    texts = data[column].astype(str)
    first = data[(texts != "") & ~texts.duplicated()]
    known = {name: name in data for name in ("student", "method", "color", "baseline")}
    return [
        _Row(
            str(line[column]),
            str(line["student"]) if known["student"] else "",
            str(line["method"]) if known["method"] else str(line[column]),
            int(line["color"]) if known["color"] else 0,
            bool(line["baseline"]) if known["baseline"] else False,
        )
        for line in first.to_dict("records")
    ]
