"""Colours and markers of all series of a report: the only place that assigns them.

Colour and dash are the method (all labels of a row but that of its student), the marker and the hatch are the student.
Both are computed from the whole report, from names alone, so a method looks the same in every panel and figure of a
report, and a run that is added changes nothing. The baseline is black. Methods that no sweep of the report compares may
share a colour; methods of one sweep share one only beyond the palette, and then figures are split
(`analysis.plots.figure_parts`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.loading.schema import AXIS
from analysis.plots.style import MARKERS, PALETTE

if TYPE_CHECKING:
    import pandas as pd

    from analysis.loading.schema import Study
    from analysis.tables.groups import Group

STUDENT_AXES = ("model", "student", "detector")
"""Axes of a sweep whose labels are students, whatever else they set."""
Key = tuple[str, ...]


@dataclass(frozen=True)
class SeriesLook:
    """The look of one series, and the names that a legend and the titles of panels have for it.

    Attributes:
        color: number of its colour and dash, see `analysis.plots.style.series_style`.
        marker: number of its marker and hatch.
        method, student: shown labels; "" where the figure has only one.
    """

    color: int
    marker: int
    method: str
    student: str


def series_looks(study: Study, sweep: str, found: Sequence[Group], without: str = "") -> list[SeriesLook]:
    """Return the look of each group of a figure.

    Args:
        sweep: of the groups; "" for the runs of no sweep.
        found: groups with the same axes.
        without: an axis that makes no difference to the look, because it is the horizontal axis.
    """
    if not found:
        return []
    axis = student_axis(study, sweep)
    method_axes = [name for name in found[0].labels if name not in (axis, without)]
    colors = _method_numbers(study, method_axes)
    students = _students(study)
    numbers = {name: place for place, name in enumerate(natural_order(set(students)))}
    shown_students = axis in found[0].labels
    out = []
    for group in found:
        shown = dict(zip(group.labels, group.shown, strict=True))
        method = ", ".join(shown[name] for name in method_axes if shown[name])
        mine = {students[place] for place in _places(study, sweep, group)}
        student = numbers[natural_order(mine)[0]] if mine else 0
        color = colors.get(tuple(group.labels[name] for name in method_axes), 0)
        out.append(SeriesLook(color, student % len(MARKERS), method or "all", shown[axis] if shown_students else ""))
    return out


def student_axis(study: Study, sweep: str) -> str:
    """Return the axis of a sweep whose labels are students; "" where it has none."""
    axes = study.sweeps[sweep].get("axes", {}) if sweep in study.sweeps else ("student", "method")
    named = [axis for axis in STUDENT_AXES if axis in axes and AXIS + axis in study.frame]
    return named[0] if named else ""


def natural_order(names: Sequence[str] | set[str]) -> list[str]:
    """Return names in alphabetical order, numbers inside them by their value."""
    return sorted(names, key=natural_sort_key)


def _students(study: Study) -> list[str]:
    """The student of each line of the frame; without a run folder that of the cell's other runs, else the label."""
    frame = study.frame
    axis_of = {sweep: student_axis(study, sweep) for sweep in frame["sweep"].unique()}
    labels = [
        str(frame.at[at, AXIS + axis_of[sweep]]) if axis_of[sweep] else ""
        for at, sweep in zip(frame.index, frame["sweep"], strict=True)
    ]
    known: dict[tuple[str, str], set[str]] = {}
    for sweep, label, student in zip(frame["sweep"], labels, frame["student"], strict=True):
        if student:
            known.setdefault((sweep, label), set()).add(str(student))
    labels_of: dict[tuple[str, str], set[str]] = {}
    for (sweep, label), names in known.items():
        for name in names:
            labels_of.setdefault((sweep, name), set()).add(label)

    def named(sweep: str, label: str, student: str) -> str:
        found = student or natural_order(known.get((sweep, label), {label}))[0]
        # Two labels of one sweep may be one student, on two data sets or under two schedules for instance.
        return f"{found} {label}" if len(labels_of.get((sweep, found), ())) > 1 else found

    return [
        named(sweep, label, str(student) if student else "")
        for sweep, label, student in zip(frame["sweep"], labels, frame["student"], strict=True)
    ]


def _places(study: Study, sweep: str, group: Group) -> list[int]:
    """Places in the frame of a group's runs."""
    runs, frame = set(group.rows["run"]), study.frame
    here = zip(frame["run"], frame["sweep"], frame["role"], strict=True)
    return [
        place for place, (run, name, role) in enumerate(here) if run in runs and name == sweep and role != "teacher"
    ]


def _method_numbers(study: Study, axes: Sequence[str]) -> dict[Key, int]:
    """{labels of these axes: number of the colour} over all sweeps of the report that have the axes.

    Equal cells (a baseline under three temperatures) have one number. Number 0 is the baseline's. The others are taken
    by name, those of the most sweeps first: each gets the number that the fewest methods have, of those that no method
    of a common sweep has.
    """
    sweeps_of, first_of, baselines = _methods(study, axes)
    order = sorted(dict.fromkeys(first_of.values()), key=lambda key: [natural_sort_key(part) for part in key])
    taken: dict[Key, int] = {}
    for base in (key for key in order if key in baselines):
        if not any(other in taken and sweeps_of[other] & sweeps_of[base] for other in baselines):
            taken[base] = 0
    # Methods of several sweeps first: they have the most neighbours.
    for key in sorted(order, key=lambda key: -len(sweeps_of[key])):
        if key not in taken:
            beside = [number for other, number in taken.items() if sweeps_of[other] & sweeps_of[key]]
            every = list(taken.values())
            taken[key] = min(range(1, len(order) + 2 * len(PALETTE)), key=lambda number: _cost(number, beside, every))
    return {key: taken[first] for key, first in first_of.items()}


def _cost(number: int, beside: Sequence[int], every: Sequence[int]) -> tuple[int, int, int, int, int]:
    """What it costs to give a method this number: a colour of the same sweep, black, a further turn of the palette."""
    color, turn = number % len(PALETTE), number // len(PALETTE)
    near = sum(other % len(PALETTE) == color for other in beside)
    return beside.count(number), int(color == 0), near, turn, every.count(number)


def natural_sort_key(name: str) -> tuple[list[tuple[int, float, str]], str]:
    """Return the key of one name in `natural_order`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    key = [(0, float(part), "") if place % 2 else (1, 0.0, part.casefold()) for place, part in enumerate(parts)]
    return key, name


def _methods(study: Study, axes: Sequence[str]) -> tuple[dict[Key, set[str]], dict[Key, Key], set[Key]]:
    """({first labels of equal cells: sweeps}, {labels: first labels of their equal cells}, those of baselines)."""
    frame: pd.DataFrame = study.frame
    columns = [AXIS + axis for axis in axes]
    mine = frame[frame["role"].isin(("student", "single"))]
    mine = mine[mine[columns].notna().all(axis=1)] if columns else mine
    runs_of: dict[Key, dict[str, set[str]]] = {}
    methods: dict[Key, set[str]] = {}
    labels = mine[columns].astype(str).itertuples(index=False, name=None) if columns else [()] * len(mine)
    for key, sweep, run, method in zip(labels, mine["sweep"], mine["run"], mine["method"], strict=True):
        runs_of.setdefault(tuple(key), {}).setdefault(str(sweep), set()).add(str(run))
        methods.setdefault(tuple(key), set()).add(str(method))
    first_of: dict[Key, Key] = {}
    seen: dict[tuple[str, frozenset[str]], Key] = {}
    for key in sorted(runs_of, key=lambda key: [natural_sort_key(part) for part in key]):
        alike = [
            seen[sweep, frozenset(runs)] for sweep, runs in runs_of[key].items() if (sweep, frozenset(runs)) in seen
        ]
        first_of[key] = alike[0] if alike else key
        for sweep, runs in runs_of[key].items():
            seen.setdefault((sweep, frozenset(runs)), first_of[key])
    sweeps_of: dict[Key, set[str]] = {}
    for key, first in first_of.items():
        sweeps_of.setdefault(first, set()).update(runs_of[key])
    baselines = {first_of[key] for key, found in methods.items() if found - {""} == {"baseline"} or "baseline" in key}
    return sweeps_of, first_of, baselines
