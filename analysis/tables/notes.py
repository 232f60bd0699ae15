"""Notes of a table: footnotes with their marks, and the sentences on spread, intervals, tests and bold below it.

Cells carry sentences while a table is built; at the end equal sentences get one mark.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.loading.columns import TEACHERS
from analysis.spec.labels import label_of_column
from analysis.spec.table_spec import TableSpec
from analysis.stats.best_rows import BestRows
from analysis.tables import deviations, differences, gains_per_cost, gaps
from analysis.tables.aggregate import FEW_NOTE
from analysis.tables.groups import Group
from analysis.tables.table import Cell, Column, Row

if TYPE_CHECKING:
    import pandas as pd

FEW = "\N{DAGGER}"
"""Mark of cells with few seeds; all other marks but `NEAR` and that of `deviations.OUTSIDE` are letters."""
NEAR_BEST = "not distinguishable from the best number of its group, which is bold: no row is significantly better"
NEAR = "\N{ALMOST EQUAL TO}"
"""Mark of cells near the best."""
ONE_TEACHER = "one teacher for all seeds: its own spread is not in these intervals"
ONE_SET = "one set of images for all seeds: the spread of other sets and of its teacher is not in these intervals"
_SIGNS = {FEW_NOTE: FEW, NEAR_BEST: NEAR, deviations.OUTSIDE: "\N{NOT EQUAL TO}"}
_MOST_SOURCES = 3
_MOST_REASONS = 3
_ABOUT = {
    "seeds": "other seeds of the same methods",
    "images": "the same two checkpoints on other images; another seed may differ",
    "seeds+images": "other seeds on other images",
}


def assign_marks(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[tuple[Row, ...], dict[str, str]]:
    """Replace the sentences of the cells by marks.

    Returns:
        (the rows with marks for sentences, {mark: sentence} in reading order).
    """
    marks: dict[str, str] = {}

    def marked(cell: Cell) -> Cell:
        for sentence in cell.notes:
            marks.setdefault(sentence, _SIGNS.get(sentence) or letter_mark(len(marks.keys() - _SIGNS.keys())))
        return dataclasses.replace(cell, notes=tuple(dict.fromkeys(marks[sentence] for sentence in cell.notes)))

    done = tuple(
        dataclasses.replace(row, cells={column.key: marked(row.cells[column.key]) for column in columns})
        for row in rows
    )
    return done, {mark: sentence for sentence, mark in marks.items()}


def letter_mark(place: int) -> str:
    """Return the mark of the footnote at that place, from 0: a ... z, aa, ab, ..."""
    mark = ""
    place += 1
    while place:
        place, letter = divmod(place - 1, 26)
        mark = chr(ord("a") + letter) + mark
    return mark


def add_sentences(row: Row, column: str, sentences: Sequence[str]) -> Row:
    """Add sentences to one cell of a row; sentences on a whole row belong to its first cell."""
    cell = row.cells[column]
    noted = dataclasses.replace(cell, notes=(*cell.notes, *sentences))
    return dataclasses.replace(row, cells={**row.cells, column: noted})


def one_teacher(group: Group, cells: Mapping[str, Cell], columns: Sequence[Column]) -> list[str]:
    """Return the sentence on a teacher that several seeds share, where a cell of the row has an interval."""
    done = group.done
    if len(done) < 2 or not any(cells[column.key].low is not None for column in columns):
        return []
    teachers = [set(done[f"teacher.{kind}"]) for kind in TEACHERS]
    shared = any(names != {""} for names in teachers) and all(len(names) == 1 for names in teachers)
    return [ONE_SET if set(done["teacher.impressions"]) != {""} else ONE_TEACHER] if shared else []


def statistics_sentences(
    spec: TableSpec,
    rows: Sequence[Row],
    columns: Sequence[Column],
    best: Mapping[tuple[str, str], BestRows],
    timed: pd.DataFrame | None,
) -> Iterator[str]:
    """Yield the sentences below a table.

    Args:
        best: {(column, first row of a family): its best rows}.
        timed: frame of `analysis.loading.latency.latency_of_runs`; None where no column needs it.
    """
    measured = [row.cells[column.key] for row in rows for column in columns if column.kind == "measured"]
    delta = [row.cells[column.key] for row in rows for column in columns if column.kind == "difference"]
    yield "Every number is the mean over the finished seeds of the cell, n of them; none is a best run"
    if spec.seeds:
        yield f"The spec selects seeds {', '.join(map(str, spec.seeds))} only; the sweep may have more"
    if any(cell.sd is not None for cell in measured):
        yield "± is the sample standard deviation over seeds (ddof 1)"
    intervals = sorted({cell.interval for cell in measured if cell.low is not None})
    if intervals:
        yield f"Intervals of means, in the data files: {', '.join(intervals)}"
    if any(cell.kind == "value" for cell in delta):
        yield from _differences(spec, delta)
    if spec.gap:
        yield from gaps.sentences(
            spec.gap, [row.cells[column.key] for row in rows for column in columns if column.kind == "gap closed"]
        )
    if spec.per_cost:
        made = [row.cells[column.key] for row in rows for column in columns if column.kind == "gain per cost"]
        yield from gains_per_cost.sentences(spec.per_cost, made)
    yield from _best(spec, rows, measured, best)
    if timed is not None and len(timed):
        yield from _latency(timed)
    if any(column.is_published for column in columns):
        yield "Published numbers are their sources' own, of another protocol; they enter no mean, test or bold"
        cells = [row.cells[column.key] for row in rows for column in columns if column.kind == "published"]
        sources = list(dict.fromkeys(cell.source for cell in cells if cell.source))
        more = f" and {len(sources) - _MOST_SOURCES} more" if len(sources) > _MOST_SOURCES else ""
        if spec.published and spec.published.other:
            yield (
                f"{', '.join(spec.published.other)} is the paper's own metric, which no measured column is: not to be "
                "compared with AP"
            )
        if sources:
            yield f"Published in: {'; '.join(sources[:_MOST_SOURCES])}{more}"
        yield from deviations.sentences(
            [row.cells[deviations.DEVIATION + key] for row in rows for key in deviations.compared_columns(spec)]
        )


def _best(
    spec: TableSpec, rows: Sequence[Row], measured: Sequence[Cell], best: Mapping[tuple[str, str], BestRows]
) -> Iterator[str]:
    """What bold and the mark near it mean, and why a column has none; the first few reasons, the rest counted."""
    group = "rows with one baseline" if spec.baseline else "rows of one student and data set"
    if any(cell.bold for cell in measured):
        yield f"Bold: the best mean of the column among the {group}; means that are equal as shown are all bold"
    if tests := sorted({test for found in best.values() if found.best for test in found.tests}):
        yield (
            f"{NEAR} and no mark: multiple comparisons with the best (Hsu 1981) over seeds, each row in turn against "
            f"the other {group}, two-sided 5 % ({'; '.join(tests)}). Bold and {NEAR} depend on which rows the table has"
        )
    sentences = _reasons(spec, rows, best)
    yield from sentences[:_MOST_REASONS]
    more = len(sentences) - _MOST_REASONS
    if more > 0:
        yield f"{more} more such reason{'s' * (more > 1)} in other rows"


def _reasons(spec: TableSpec, rows: Sequence[Row], best: Mapping[tuple[str, str], BestRows]) -> list[str]:
    """Why columns have no bold or no mark; with the first row of a group where the reason is not that of all groups."""
    names = {row.key: " / ".join(label for label in row.labels if label.strip()) or row.key for row in rows}
    groups: dict[tuple[str, str], list[str]] = {}
    for (key, first), found in best.items():
        if found.reason:
            groups.setdefault((found.reason, key), []).append(first)
    columns: dict[tuple[str, str], list[str]] = {}
    for (reason, key), firsts in groups.items():
        whole = len(firsts) == sum(other == key for other, _ in best)
        where = "" if whole else f" (group of {', '.join(names[first] for first in firsts)})"
        columns.setdefault((reason, where), []).append(label_of_column(spec, key))
    return [f"{', '.join(labels)}{where}: {reason}" for (reason, where), labels in sorted(columns.items())]


def _differences(spec: TableSpec, cells: Sequence[Cell]) -> Iterator[str]:
    wanted = ", ".join(f"{axis} {label}" for axis, label in spec.baseline.items())
    yield f"Δ is the mean difference to the row with {wanted} over the seeds that both have"
    intervals = sorted({cell.interval for cell in cells if cell.low is not None})
    if intervals:
        yield f"Its interval ({', '.join(intervals)}) is for {_ABOUT[spec.uncertainty]}"
    yield from differences.sentences_of_tests(cells)


def _latency(timed: pd.DataFrame) -> Iterator[str]:
    there = timed[timed["p50_ms"].notna()]
    found = [sorted({str(value) for value in there[column]}) for column in ("device", "conditions")]
    if found[0]:
        yield f"Latency: mean over the seeds of each run's quantile, on {', '.join(found[0])}; {'; '.join(found[1])}"
