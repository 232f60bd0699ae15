"""The record of a sweep, `sweeps/<name>.json`: the cells it promised, checked far enough that nothing later trips.

Only from the record can be known what is missing. One that is damaged or of an older format is refused as a whole: half
of its cells would look like a finished study.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2d.core.json_values import items, number, read_object, required, type_name
from c2d.core.regular_file import FormatError, Problem
from c2d.core.store_folder import is_run_id, sweep_record_path

AGAIN = "submit the sweep again, its finished runs are kept; until then its runs are listed as single runs"


def read_record(runs: Path, name: str) -> dict[str, Any] | Problem:
    """The record as it was submitted, or a Problem that says why it cannot be used."""
    path = sweep_record_path(runs, name)
    value = read_object(path)
    if isinstance(value, Problem):
        return Problem(path, f"sweep {name!r} is left out: its record {value.message}; {AGAIN}")
    try:
        _check(value)
    except FormatError as error:
        return Problem(path, f"sweep {name!r} is left out: {error} in its record; {AGAIN}")
    return value


def axes_of(record: Mapping[str, Any]) -> list[str]:
    """Every axis that a cell has a label on, those of the record's list first."""
    return list(dict.fromkeys([*record["axes"], *(axis for cell in record["cells"] for axis in cell["labels"])]))


def runs_of(record: Mapping[str, Any]) -> set[str]:
    """Every run the record names: of cells, teachers and orphans."""
    return {cell["run"] for cell in record["cells"]} | {*record["teachers"], *record["orphans"]}


def _check(record: Mapping[str, Any]) -> None:
    axes = required(record, "axes")
    if not isinstance(axes, dict):
        raise FormatError(f"axes is {type_name(axes)} where an object belongs")
    for axis, labels in axes.items():
        _label(axis, "an axis")
        for label in items(labels, f"axes.{axis!a}"):
            _label(label, f"a label of axes.{axis!a}")
    for index, cell in enumerate(items(required(record, "cells"), "cells")):
        _cell(cell, f"cells[{index}]")
    for key in ("teachers", "orphans"):
        for run in items(required(record, key), key):
            _run(run, key)
    if not isinstance(required(record, "needs"), dict):
        raise FormatError("needs is no object")
    for key in ("name", "question", "source", "definition", "size"):
        if not isinstance(record.get(key, ""), str):
            raise FormatError(f"{key} is {type_name(record[key])} where text belongs")
    for seed in items(record.get("seeds", []), "seeds"):
        _seed(seed, "seeds")


def _cell(cell: Any, name: str) -> None:
    if not isinstance(cell, dict):
        raise FormatError(f"{name} is {type_name(cell)} where an object belongs")
    labels = required(cell, "labels")
    if not isinstance(labels, dict):
        raise FormatError(f"{name}.labels is {type_name(labels)} where an object belongs")
    for axis, label in labels.items():
        _label(axis, f"an axis of {name}")
        _label(label, f"{name}.labels.{axis!a}")
    _seed(required(cell, "seed"), f"{name}.seed")
    _run(required(cell, "run"), f"{name}.run")


def _label(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise FormatError(f"{name} is {type_name(value)} where text belongs")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FormatError(f"{name} is {value!a}, which no file can hold") from None


def _seed(value: Any, name: str) -> None:
    found = number(value, name, 0)
    if found is None or found != int(found):
        raise FormatError(f"{name} is no whole number")


def _run(value: Any, name: str) -> None:
    if not is_run_id(value):
        raise FormatError(f"{name} holds {value!a:.60} where a run id belongs")
