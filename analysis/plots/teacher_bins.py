"""The reliability bins of the teachers of some runs: of classifiers from their result.json, and of detectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from analysis.plots.points import interval_columns
from c2d.core.json_values import items, number, optional, read_object, required
from c2d.core.regular_file import FormatError, Problem
from c2d.core.run_folder import RESULT_FILE
from c2d.core.store_folder import is_run_id

if TYPE_CHECKING:
    from analysis.loading.schema import Study


def teachers_of(study: Study, runs: Iterable[str], kind: str) -> list[str]:
    """Return the ids of the teachers of some runs; a mixture of several classifiers has no bins and is left out.

    Args:
        study: the study.
        runs: ids of detectors.
        kind: "classifier" or "detector".
    """
    frame = study.frame[study.frame["run"].isin(list(runs))]
    return sorted({str(name) for name in frame[f"teacher.{kind}"].dropna() if is_run_id(str(name))})


def classifier_lines(study: Study, runs: Iterable[str]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Return the lines of the parts "teacher error" and "teacher bin" (see `analysis.plots.reliability`), and problems.

    Args:
        study: the study.
        runs: ids of detectors.
    """
    lines: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for run in teachers_of(study, runs, "classifier"):
        path = study.folder(run) / RESULT_FILE
        value = read_object(path)
        if isinstance(value, Problem):
            problems.append(value)
            continue
        try:
            lines += _lines(run, value)
        except FormatError as error:
            problems.append(Problem(path, f"has no reliability bins: {error}; evaluate the run again"))
    return lines, problems


def detector_lines(run: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the same lines of a detector as teacher, with D-ECE as the error.

    Args:
        run: id of the teacher.
        found: of `c2d.metrics.detection_calibration.calibration`.
    """
    bins = [{**one, "confidence": one["score"], "accuracy": one["precision"]} for one in found["bins"]]
    lines = _lines(run, {"ece": found["d_ece"], "n": found["n"], "bins": bins})
    return [{**line, "la_ece": 100 * found["la_ece"]} for line in lines] if found["n"] else []


def _lines(run: str, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    same = {"row": "", "baseline": False, "student": "", "method": run, "color": 0, "marker": 0, "la_ece": math.nan,
            "note": "", "n": 1, "promised": 1, "seeds": "", "runs": run, "missing": "", "low_edge": math.nan,
            "high_edge": math.nan, "score": math.nan}  # fmt: skip
    ece = _number(result, "ece")
    lines = [{**same, "part": "teacher error", "count": _number(result, "n"),
              **interval_columns([] if math.isnan(ece) else [100 * ece])}]  # fmt: skip
    for at, one in enumerate(items(required(result, "bins"), "bins")):
        if not isinstance(one, dict):
            raise FormatError(f"bins.{at} is no object")
        accuracy = _number(one, "accuracy")
        lines.append(
            {**same, "part": "teacher bin", "low_edge": _number(one, "low"), "high_edge": _number(one, "high"),
             "score": _number(one, "confidence"), "count": number(required(one, "n"), f"bins.{at}.n", 0),
             **interval_columns([] if math.isnan(accuracy) else [100 * accuracy])}
        )  # fmt: skip
    return lines


def _number(value: Mapping[str, Any], key: str) -> float:
    """A number in 0-1, or for `n` of any size; NaN for null."""
    found = number(optional(value, key), key, 0, math.inf if key == "n" else 1)
    return math.nan if found is None else found
