"""The rows of a figure about several methods: name, place, and the row each is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from analysis.load.schema import AXIS
from analysis.plots.style import series_label
from analysis.tables.groups import Group, baseline_of, groups
from c2d.core.errors import unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from c2d.core.regular_file import Problem
from analysis.load.schema import Study


class SeriesSpec(Protocol):
    """What this file reads of a figure's spec."""

    @property
    def series(self) -> list[str]: ...
    @property
    def baseline(self) -> Mapping[str, str]: ...
    @property
    def where(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def labels(self) -> Mapping[str, Mapping[str, str]]: ...


@dataclass(frozen=True)
class Row:
    """One group of a figure. is_baseline: others are compared with it. against: the one this is compared with, if any;
    rows of several students may each have a baseline of their own."""

    name: str
    position: int
    group: Group
    is_baseline: bool
    against: Group | None

    @property
    def run_of(self) -> dict[int, str]:
        """{seed: run id} of every promised seed, done or not."""
        return run_of(self.group)

    @property
    def done(self) -> dict[int, str]:
        """{seed: run id} of the finished runs."""
        done = self.group.done
        return {int(seed): str(run) for seed, run in zip(done["seed"], done["run"], strict=True)}


def run_of(group: Group) -> dict[int, str]:
    """{seed: run id} of every promised seed of a group."""
    return {int(seed): str(run) for seed, run in zip(group.rows["seed"], group.rows["run"], strict=True)}


def rows_of(study: Study, spec: SeriesSpec, sweep: str) -> list[Row]:
    """Rows in the order of the sweep; none where the sweep has no cells.

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
    return [
        Row(series_label(group), position, group, other is group, None if other is group else other)
        for position, (group, other) in enumerate(zip(found, against, strict=True))
    ]


def in_order(data: pd.DataFrame, column: str = "row") -> list[str]:
    """The distinct texts of a column as they come."""
    return list(dict.fromkeys(data[column].astype(str)))


def problem_note(problems: Iterable[Problem], runs: Iterable[str]) -> str:
    """What is wrong with files of those runs: of the first, and how many more there are."""
    names = set(runs)
    mine = [problem for problem in problems if names & set(problem.path.parts)]
    if not mine:
        return ""
    run = next(part for part in mine[0].path.parts if part in names)
    more = f"; {len(mine) - 1} more" if len(mine) > 1 else ""
    return f"{run}: {mine[0].path.name} {mine[0].message}{more}."


def left_out(data: pd.DataFrame) -> list[str]:
    """The sentences of the column `note`, the first two in full."""
    notes = [note for note in in_order(data, "note") if note]
    more = [f"{len(notes) - 2} more rows with such problems stand in the CSV."] if len(notes) > 3 else []
    return notes[:2] + more if more else notes
