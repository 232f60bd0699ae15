"""The rows of a figure about several methods: name, place, and the row each is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.loading.schema import AXIS
from analysis.plots.series_looks import SeriesLook, series_looks
from analysis.spec.report_item import SeriesFigureSpec
from analysis.tables.groups import Group, baseline_of, groups
from c2d.core.errors import unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from analysis.loading.schema import Study
    from c2d.core.regular_file import Problem


LOOK_COLUMNS = ("method", "student", "color", "marker")
"""Columns of a frame that decide the look of a row; `Row.columns` has them, with `row` and `baseline`."""


@dataclass(frozen=True)
class Row:
    """One group of a figure.

    Attributes:
        name: in the legend.
        position: number of the row, from 0.
        group: its runs.
        is_baseline: whether others are compared with it.
        against: the group it is compared with, or None; rows of several students may have different baselines.
        look: its colour, marker, and names in legends and panels.
    """

    name: str
    position: int
    group: Group
    is_baseline: bool
    against: Group | None
    look: SeriesLook

    @property
    def columns(self) -> dict[str, object]:
        """The columns of every frame that name the row and decide its look."""
        return {
            "row": self.name,
            "baseline": self.is_baseline,
            "method": self.look.method,
            "student": self.look.student,
            "color": self.look.color,
            "marker": self.look.marker,
        }

    @property
    def run_of(self) -> dict[int, str]:
        """{seed: run id} of every planned seed, done or not."""
        return runs_by_seed(self.group)

    @property
    def done(self) -> dict[int, str]:
        """{seed: run id} of the finished runs."""
        done = self.group.done
        return {int(seed): str(run) for seed, run in zip(done["seed"], done["run"], strict=True)}


def series_label(group: Group) -> str:
    """Return the name of a group in a legend: its shown labels, without the axes that make no difference to it."""
    return ", ".join(text for text in group.shown if text) or "all"


def runs_by_seed(group: Group) -> dict[int, str]:
    """Return {seed: run id} of every planned seed of a group."""
    return {int(seed): str(run) for seed, run in zip(group.rows["seed"], group.rows["run"], strict=True)}


def rows_of(study: Study, spec: SeriesFigureSpec, sweep: str) -> list[Row]:
    """Return the rows of a figure in the order of the sweep; none where the sweep has no cells.

    Raises:
        InputError: see `analysis.tables.groups.groups`; a baseline that is no label of the series.
    """
    frame = study.frame
    if frame.empty or (sweep in ("", *study.sweeps) and not (frame["sweep"] == sweep).any()):
        return []
    for axis, label in spec.baseline.items():
        if axis not in spec.series:
            raise unknown_name("axis of the baseline", axis, spec.series, "a baseline is one of the series")
        if AXIS + axis in frame and label not in (known := dict.fromkeys(frame[AXIS + axis].dropna())):
            raise unknown_name(f"label of axis {axis} (the baseline)", label, known)
    found = groups(study, sweep, {axis: [] for axis in spec.series}, spec.where, spec.labels)
    against = [baseline_of(group, found, spec.baseline) for group in found]
    looks = series_looks(study, sweep, found)
    return [
        Row(series_label(group), position, group, other is group, None if other is group else other, look)
        for position, (group, other, look) in enumerate(zip(found, against, looks, strict=True))
    ]


def unique_values(data: pd.DataFrame, column: str = "row") -> list[str]:
    """Return the distinct texts of a column in order of appearance."""
    return list(dict.fromkeys(data[column].astype(str)))


def problem_note(problems: Iterable[Problem], runs: Iterable[str]) -> str:
    """Return the first problem with files of those runs, and the number of the others; "" where there is none."""
    names = set(runs)
    mine = [problem for problem in problems if names & set(problem.path.parts)]
    if not mine:
        return ""
    run = next(part for part in mine[0].path.parts if part in names)
    more = f"; {len(mine) - 1} more" if len(mine) > 1 else ""
    return f"{run}: {mine[0].path.name} {mine[0].message}{more}."


def row_notes(data: pd.DataFrame) -> list[str]:
    """Return the sentences of the column `note`; of more than three the first two, and the number of the others."""
    notes = [note for note in unique_values(data, "note") if note]
    more = [f"{len(notes) - 2} more rows with such problems are in the CSV."] if len(notes) > 3 else []
    return notes[:2] + more if more else notes
