"""Reliability diagram of the detectors and of their teachers: are the scores probabilities?

A detection is correct where COCO's matching at the IoU threshold gives it an object; over the mean score of a bin of
scores stands the precision of its detections (`c2d.metrics.detection_calibration`, with the definitions of D-ECE and
LaECE). Missed objects are in no bin. The panel of the teachers has of a classifier the accuracy over the confidence of
the predicted class on ground-truth crops, from `bins` of its result.json (`c2d.metrics.classification`), and of a
detector the same as of the others. Below each is the number in each bin, on a logarithmic scale.

Precision, score and number of a bin are means over seeds; the diagonal is a calibrated detector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from analysis.plots.curve_panels import CURVE, LISTED, list_numbers
from analysis.plots.detector_curves import IOU, DetectorCurves
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.figure_text import format_number, shorten_distinct
from analysis.plots.points import interval_columns, marker_notes, no_data_message, row_tuples, run_columns
from analysis.plots.rows import LOOK_COLUMNS, problem_note, row_notes, rows_of
from analysis.plots.series_panels import Series, legend_of, panels_of, series_of
from analysis.plots.style import DOUBLE_IN, GREY, PALETTE, SINGLE_IN, paper_style
from analysis.plots.teacher_bins import classifier_lines, detector_lines, teachers_of
from analysis.spec.labels import math_of
from analysis.spec.report_item import SeriesFigureSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study
    from analysis.plots.rows import Row

COLUMNS = ("row", "baseline", "part", "low_edge", "high_edge", "score", "count", *CURVE, "la_ece", "note",
           *LOOK_COLUMNS)  # fmt: skip
FEW = 10
"""A bin with fewer is a small dot without a line: its share means little."""
TEACHERS = 4
"""Teachers of a figure that are drawn; the CSV has all."""


class Spec(SeriesFigureSpec):
    """Precision over the score of detections, and the same of their teachers.

    Attributes:
        iou: of a correct detection.
        min_score: smallest score of a detection that counts.
        teachers: whether the teachers have a panel.
    """

    kind: Literal["reliability"]
    iou: Annotated[float, Field(gt=0, lt=1)] = IOU
    min_score: Annotated[float, Field(ge=0, lt=1)] = 0.0
    teachers: bool = True


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return lines of four parts.

    error          (row): D-ECE in percent as `value`, LaECE in percent, and the number of detections as `count`
    bin            (row, low_edge): `value` is the precision in percent, `score` the mean score in 0-1
    teacher error  (`method` is the run of the teacher): ECE in percent and number of crops; of a detector as in "error"
    teacher bin    the accuracy in percent over the mean confidence; of a detector as in "bin"
    """
    import pandas as pd

    rows = rows_of(study, spec, sweep)
    curves = DetectorCurves(study)
    runs = [run for row in rows for run in row.group.runs]
    found, problems = curves.of_runs(runs, lambda run: curves.calibration(run, spec.iou, spec.min_score))
    lines: list[dict[str, Any]] = []
    for row in rows:
        there = {seed: found[run] for seed, run in sorted(row.done.items()) if run in found}
        lines += _lines(row, there, problem_note(problems, row.group.runs))
    if spec.teachers:
        of_classifiers, missing = classifier_lines(study, runs)
        detectors = teachers_of(study, runs, "detector")
        taught, lost = curves.of_runs(detectors, lambda run: curves.calibration(run, spec.iou, spec.min_score))
        lines += [*of_classifiers, *(line for run in taught for line in detector_lines(run, taught[run]))]
        problems += [problem for problem in (*missing, *lost) if problem not in problems]
    out = pd.DataFrame(lines, columns=list(COLUMNS))
    numbers = ["low_edge", "high_edge", "score", "count", "value", "sd", "low", "high", "la_ece"]
    out = out.astype(dict.fromkeys(numbers, float))
    out.attrs["problems"] = problems
    return out


def _lines(row: Row, there: dict[int, dict[str, Any]], note: str) -> list[dict[str, Any]]:
    """The lines of a row of detectors."""
    same = {**row.columns, "low_edge": math.nan, "high_edge": math.nan, "score": math.nan, "count": math.nan,
            "la_ece": math.nan, "note": note}  # fmt: skip
    full = {seed: one for seed, one in there.items() if one["n"]}
    lines = [{**same, "part": "error", **interval_columns([100 * one["d_ece"] for one in full.values()]),
              **run_columns(row.group, list(full), "detections"),
              "count": _mean([one["n"] for one in full.values()]),
              "la_ece": _mean([100 * one["la_ece"] for one in full.values()])}]  # fmt: skip
    for at, edges in enumerate(next(iter(full.values()))["bins"] if full else []):
        mine = {seed: one["bins"][at] for seed, one in full.items() if one["bins"][at]["n"]}
        lines.append(
            {**same, "part": "bin", "low_edge": edges["low"], "high_edge": edges["high"],
             "score": _mean([one["score"] for one in mine.values()]),
             "count": sum(one["n"] for one in mine.values()) / len(full),
             **interval_columns([100 * one["precision"] for one in mine.values()]),
             **({} if mine else {"interval": "none: no detection in the bin"}),
             **run_columns(row.group, list(mine), "detections in the bin")}
        )  # fmt: skip
    return lines


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: three students beside the panel of the teachers."""
    return Limits(rows=48, students=3)


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw a diagram for all rows, or for each student; the teachers' on the right; counts below each."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    notes = row_notes(data)
    errors = data[data["part"] == "error"]
    there = errors[errors["n"] > 0]
    taught = data[data["part"] == "teacher error"]
    if there.empty:
        return message_figure(" ".join([no_data_message(errors), *notes]), DOUBLE_IN)
    series = series_of(there)
    panels = panels_of(series)
    teachers = [_teacher(str(name), k) for k, name in enumerate(taught.loc[taught["value"].notna(), "method"])]
    shown = teachers[:TEACHERS]
    across = len(panels) + bool(shown)
    with paper_style():
        width = {1: SINGLE_IN, 2: 5.2}.get(across, DOUBLE_IN)
        figure, grid = new_figure(width, 2.9, 2, across, squeeze=False, sharex=True, sharey="row",
                                  height_ratios=[3.2, 1])  # fmt: skip
        for column, (student, mine) in enumerate(panels):
            _panel(grid[:, column], data[data["part"] == "bin"], "row", mine)
            if len(mine) <= LISTED:
                list_numbers(grid[0, column], _texts(there, mine), "best", "D-ECE / LaECE")
            grid[0, column].set_title(student or "detectors", pad=3)
            grid[1, column].set_xlabel("score")
        if shown:
            _panel(grid[:, -1], data[data["part"] == "teacher bin"], "method", shown)
            title = "ECE; of detectors D-ECE" if taught["la_ece"].notna().any() else "ECE"
            list_numbers(grid[0, -1], _teacher_texts(taught, shown), "best", title)
            grid[0, -1].set_title("teachers", pad=3)
            grid[1, -1].set_xlabel("confidence")
        grid[0, 0].set_ylabel("correct (%)")
        grid[1, 0].set_ylabel("number")
        grid[0, 0].set_xlim(-0.02, 1.02)
        grid[0, 0].set_ylim(-2, 102)
        grid[1, 0].set_yscale("log")
        grid[1, 0].set_ylim(0.7, 2 * max(10.0, float(data["count"].max())))
        grid[1, 0].yaxis.set_major_formatter(FuncFormatter(lambda count, _: _number(count)))
        grid[1, 0].yaxis.set_minor_formatter(NullFormatter())
        legend = legend_of(series, "line", titled=len(panels) > 1)
        add_legend_and_notes(
            figure, [_sentence(spec, bool(shown), len(teachers)), *marker_notes(errors), *notes], legend,
            math=math_of(spec),
        )  # fmt: skip
        return figure


def _panel(pair: Sequence[Axes], bins: pd.DataFrame, key: str, series: Sequence[Series]) -> None:
    upper, lower = pair
    upper.plot([0, 1], [0, 100], color=GREY, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=1)
    for one in series:
        mine = bins[bins[key] == one.name]
        known = mine[mine["value"].notna()]
        look: dict[str, Any] = {**one.line(), "linewidth": 1.0, "markeredgewidth": 0.6}
        sure, few = known[known["count"] >= FEW], known[known["count"] < FEW]
        upper.plot(sure["score"], sure["value"], **look, markersize=2.6, zorder=3)
        upper.plot(few["score"], few["value"], **{**look, "linestyle": ""}, markersize=1.4, alpha=0.5, zorder=2)
        edges = [*mine["low_edge"], *mine["high_edge"].tail(1)]
        lower.stairs(mine["count"].to_numpy(), edges, color=one.hue, linewidth=0.8, linestyle=one.line()["linestyle"])
    for axes in pair:
        axes.grid()


def _texts(errors: pd.DataFrame, series: Sequence[Series]) -> list[tuple[Series, str]]:
    lines = {str(line.row): line for line in row_tuples(errors)}
    return [
        (one, f"{format_number(lines[one.name].value, 1)} / {format_number(lines[one.name].la_ece, 1)}")
        for one in series
    ]


def _teacher_texts(errors: pd.DataFrame, teachers: Sequence[Series]) -> list[tuple[Series, str]]:
    names = shorten_distinct([one.name for one in teachers], 14)
    value = dict(zip(errors["method"], errors["value"], strict=True))
    return [(one, f"{name}: {format_number(value[one.name], 1)}") for one, name in zip(teachers, names, strict=True)]


def _teacher(run: str, place: int) -> Series:
    # From the end of the palette: the first colours are those of the detectors.
    return Series(run, run, "", len(PALETTE) - 1 - place % len(PALETTE), place, hollow=False)


def _number(count: float) -> str:
    """1, 100, 10k: a power of ten without math."""
    return f"{count / 1000:g}k" if count >= 1000 else f"{count:g}"


def _sentence(spec: Spec, taught: bool, teachers: int) -> str:
    least = f" with a score of {spec.min_score:g} or more" if spec.min_score else ""
    out = f"Precision of the detections{least} in each bin of scores at IoU {spec.iou:.2f}, mean over seeds; dotted: "
    out += "calibrated. D-ECE and LaECE in percent, over all these detections: bins of low scores dominate them."
    out += f" Small dots: fewer than {FEW} in the bin."
    if taught:
        out += " Right: top-1 accuracy of classifier teachers on ground-truth crops, detector teachers as on the left."
    if teachers > TEACHERS:
        out += f" {teachers - TEACHERS} more teachers are in the CSV."
    return out
