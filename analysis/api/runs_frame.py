"""The frame of `analysis.load` from a study, and the study of such a frame.

The frame of a study has a row for each cell of a sweep, so a run that several cells share has several. A user groups
and counts rows, so here a run has one; its cells are text in the column `cells_json`. Nothing else is hidden: a frame
that was filtered, sorted, concatenated or read from a CSV file is a study again.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.errors import InputError, abbreviate

if TYPE_CHECKING:
    import pandas as pd

    from analysis.loading.schema import Study
    from c2d.core.regular_file import Problem

NEEDED_BY = "the functions of `import analysis`"
"""In the error where a package of the extra is missing."""
STORE, CELLS = "store", "cells_json"
MOST_PROBLEMS = 12
"""Kinds of problems that a warning lists."""


def one_row_per_run(study: Study) -> pd.DataFrame:
    """Return the frame of a study with one row for each run, its cells in `cells_json`."""
    import pandas as pd

    from analysis.loading.schema import AXIS, labels_of

    axes = [str(name) for name in study.frame.columns if str(name).startswith(AXIS)]
    found: dict[str, list[dict[str, Any]]] = {}
    for cell in study.frame.to_dict("records"):
        found.setdefault(str(cell["run"]), []).append({str(key): value for key, value in cell.items()})
    store, rows = os.path.abspath(study.runs), []
    for cells in found.values():
        # A run that does not fit one of its cells is damaged there; then its numbers are not shown at all.
        row = next((cell for cell in cells if cell["state"] == "damaged"), cells[0])
        labels = {axis: [cell[axis] for cell in cells if isinstance(cell[axis], str)] for axis in axes}
        texts = {axis: "/".join(dict.fromkeys(given)) for axis, given in labels.items()}
        places = [
            {"sweep": cell["sweep"], "role": cell["role"], "labels": labels_of(cell)} if cell["sweep"]
            else {"sweep": "", "role": "single", "labels": _labels(cell, AXIS)} for cell in cells
        ]  # fmt: skip
        rows.append({
            **row, **texts,
            "sweep": ", ".join(dict.fromkeys(cell["sweep"] for cell in cells)),
            "role": ", ".join(dict.fromkeys(cell["role"] for cell in cells)),
            STORE: store, CELLS: json.dumps(places, ensure_ascii=False),
        })  # fmt: skip
    unused = {axis for axis in axes if not any(row[axis] for row in rows)}
    columns = [*(name for name in map(str, study.frame.columns) if name not in unused), STORE, CELLS]
    numbers = {str(name) for name in study.frame.columns if study.frame[name].dtype.kind == "f"}
    frame = pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype="float64" if name in numbers else object)
         for name in columns}
    )  # fmt: skip
    if frame["seed"].notna().all():
        frame["seed"] = frame["seed"].astype("int64")
    return frame


def study_of(runs: pd.DataFrame | str | os.PathLike[str]) -> Study:
    """Return the study of a frame of `load`, or of a store.

    Args:
        runs: rows of one or several frames, or the store.

    Raises:
        InputError: no such store; a frame without the columns of `load`, without rows, with a run twice, or in which a
            label or number was changed.
    """
    from analysis.commands.extra_packages import check_extra
    from analysis.loading.load import read_study, to_frame
    from analysis.loading.schema import AXIS, Study

    check_extra(NEEDED_BY)
    import pandas as pd

    if isinstance(runs, str | os.PathLike):
        study = read_study(Path(runs))
        warn_of(study.problems)
        return study
    if not isinstance(runs, pd.DataFrame):
        raise InputError(f"runs is {type(runs).__name__}; give the frame of analysis.load, or a store")
    _check(runs)
    rows = []
    for row in runs.to_dict("records"):
        try:
            cells = json.loads(row[CELLS])
            places = [(str(cell["sweep"]), str(cell["role"]), dict(cell["labels"])) for cell in cells]
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{CELLS} of run {row['run']} is {str(row[CELLS])[:60]!r}; load the store again") from None
        _check_labels(row, places)
        given = {str(key): _value(str(key), value, row) for key, value in row.items() if not str(key).startswith(AXIS)}
        values = {key: value for key, value in given.items() if value is not None}
        for sweep, role, labels in places:
            named = {AXIS + axis: label for axis, label in labels.items()}
            rows.append({**values, **named, "sweep": sweep, "role": role})
    axes = dict.fromkeys(axis for row in rows for axis in row if str(axis).startswith(AXIS))
    stores = {str(run): Path(str(store)) for run, store in zip(runs["run"], runs[STORE], strict=True)}
    frame = to_frame(rows, [axis.removeprefix(AXIS) for axis in axes])
    first = next(iter(stores.values()))
    records = _records(frame, stores)
    return Study(first, frame, records, stores={run: store for run, store in stores.items() if store != first})


def warn_of(problems: Iterable[Problem]) -> None:
    """Warn of files that cannot be used, one line for each kind."""
    alike: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.path.name, problem.message[:40]), []).append(problem)
    if not alike:
        return
    lines = []
    for same in list(alike.values())[:MOST_PROBLEMS]:
        more = f" (and {len(same) - 1} more like it)" if len(same) > 1 else ""
        lines.append(f"skipped {same[0].path}: {same[0].message}{more}")
    if len(alike) > MOST_PROBLEMS:
        lines.append(f"skipped {len(alike) - MOST_PROBLEMS} other kinds of problems")
    warnings.warn("\n".join(lines), UserWarning, stacklevel=3)


def _value(column: str, value: Any, row: Mapping[Any, Any]) -> Any:
    """A value of a frame as `to_frame` takes it. A CSV file read by pandas has numbers where text looks like one.

    Raises:
        InputError: a number that no file of a run can have, e.g. an AP in percent.
    """
    from analysis.loading.columns import NUMBERS, RANGES

    if value is None or value != value:
        return None
    if column in NUMBERS:
        low, high = RANGES.get(column, (-math.inf, math.inf))
        try:
            is_allowed = low <= float(value) <= high
        except (TypeError, ValueError):
            is_allowed = False
        if not is_allowed:
            allowed = f", {low:g} to {high:g}" if math.isfinite(high) else ""
            raise InputError(
                f"{column} of run {row['run']} is {str(value)[:60]!r}; wanted is the number of its file{allowed}: put "
                "changed numbers into a column of your own"
            )
        return value
    if isinstance(value, str):
        return value
    return f"{value:.17g}" if isinstance(value, float) else str(value)


def _check_labels(row: Mapping[Any, Any], places: Sequence[tuple[str, str, Mapping[str, str]]]) -> None:
    """Check that sweep, role and labels are those of the cells, which tables and figures read.

    Raises:
        InputError: they were changed, and would change nothing.
    """
    from analysis.loading.schema import AXIS

    axes = [column for column in map(str, row) if column.startswith(AXIS)]
    stored = {"sweep": [sweep for sweep, _, _ in places], "role": [role for _, role, _ in places]}
    stored |= {
        axis: [labels[axis[len(AXIS) :]] for _, _, labels in places if axis[len(AXIS) :] in labels] for axis in axes
    }
    for column, found in stored.items():
        separator = "/" if column.startswith(AXIS) else ", "
        text, value = separator.join(dict.fromkeys(found)), row.get(column)
        # What a CSV file holds may be read as a number, or as a missing value.
        if isinstance(value, str) and value != text:
            raise InputError(
                f"{column} of run {row['run']} is {value[:60]!r}, and its cells have {text!r} ({CELLS}): a changed "
                "label changes no table or figure; keep the column, and give names with labels={...}"
            )


def _labels(cell: Mapping[str, Any], prefix: str) -> dict[str, str]:
    return {key[len(prefix) :]: value for key, value in cell.items()
            if key.startswith(prefix) and isinstance(value, str)}  # fmt: skip


def _check(runs: pd.DataFrame) -> None:
    from analysis.loading.columns import FILE_COLUMNS

    needed = ["run", "seed", STORE, CELLS, *(column.name for column in FILE_COLUMNS)]
    if missing := [name for name in needed if name not in runs]:
        raise InputError(
            f"the frame has no column {abbreviate(missing)}; keep all columns of analysis.load and choose rows, "
            'e.g. runs[runs["state"] == "done"]'
        )
    if runs.empty:
        raise InputError("the frame has no rows; load a store with runs, or choose others")
    twice = runs.loc[runs["run"].duplicated(keep=False), ["run", STORE]]
    if len(twice):
        places = ", ".join(dict.fromkeys(map(str, twice[STORE])))
        raise InputError(
            f"the frame has {abbreviate(twice['run'].unique())} twice ({places}); keep one of each: "
            'runs.drop_duplicates("run")'
        )


def _records(frame: pd.DataFrame, stores: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The record of each sweep of the frame; of its cells alone where the store does not have it any more."""
    from analysis.loading.schema import AXIS
    from c2d.core.regular_file import Problem
    from c2d.core.sweep_manifest import read_manifest

    records: dict[str, dict[str, Any]] = {}
    for sweep, rows in frame[frame["sweep"] != ""].groupby("sweep", sort=False):
        name = str(sweep)
        axes = {
            column[len(AXIS) :]: list(dict.fromkeys(rows[column].dropna()))
            for column in map(str, rows.columns)
            if column.startswith(AXIS) and rows[column].notna().any()
        }
        record: dict[str, Any] = {"name": name, "axes": {}, "question": "", "cells": []}
        for store in dict.fromkeys(stores[str(run)] for run in rows["run"]):
            if not isinstance(found := read_manifest(store, name), Problem):
                record = found
                break
        known = record["axes"]
        merged = {axis: list(dict.fromkeys([*known.get(axis, ()), *axes.get(axis, ())])) for axis in {**known, **axes}}
        records[name] = {**record, "axes": merged}
    return records
