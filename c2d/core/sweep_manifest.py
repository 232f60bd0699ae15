"""The manifest of a sweep, `<runs>/sweeps/<name>.json`: its question, its axes and its planned runs.

It is written at submission and read by every later command and by the reports, without the YAML: only the manifest
shows which runs are missing. A damaged manifest is rejected as a whole, because a part of its cells could be taken for
a finished sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from c2d.core.json_values import items, read_object, required, type_name, whole
from c2d.core.regular_file import FormatError, Problem
from c2d.core.run_folder import atomic_write_json
from c2d.core.store_folder import SHARED_FOLDERS, RunStore, is_run_id

MAX_SEED = 2**63 - 1
Labels = dict[str, str]
"""{axis: label} of one cell."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        kind: teacher of the sweep's students; student; orphan: planned by an earlier version of the sweep only.
        cells: {axis: label, ..., "seed": "0"} of every cell that the run fills. A teacher may fill none, an orphan
            never fills one.
        needs: ids of the teachers that must be done before.
        is_backbone: a teacher whose weights a student's backbone starts from; its column is `backbone`.
    """

    run: str
    kind: Literal["teacher", "student", "orphan"]
    cells: tuple[Labels, ...] = ()
    needs: tuple[str, ...] = ()
    is_backbone: bool = False


def sweep_names(runs: Path) -> list[str]:
    """Return the names of the sweeps that were submitted to a store, sorted."""
    try:
        paths = list(RunStore(runs).sweeps.iterdir())
    except OSError:
        return []
    return sorted(path.stem for path in paths if path.suffix == ".json" and is_run_id(path.stem))


def read_manifest(runs: Path, name: str) -> dict[str, Any] | Problem:
    """Return the manifest of a sweep as it was submitted, or the Problem why it cannot be used."""
    path = RunStore(runs).manifest(name)
    manifest = read_object(path)
    if isinstance(manifest, Problem):
        return manifest
    try:
        _check(manifest)
        if manifest.get("name", name) != name:
            raise FormatError(f"name is {manifest['name']!a:.60}, which is the manifest of another sweep")
    except FormatError as error:
        return Problem(path, f"cannot be used: {error}")
    return {**manifest, "name": name}


def write_manifest(runs: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest of a sweep."""
    atomic_write_json(RunStore(runs).manifest(manifest["name"]), manifest)


def planned_runs(manifest: Mapping[str, Any]) -> list[PlannedRun]:
    """Return every run once: teachers, students in the order of their first cell, orphans."""
    needs = manifest["needs"]
    cells: dict[str, list[Labels]] = {}
    for cell in manifest["cells"]:
        cells.setdefault(cell["run"], []).append({**cell["labels"], "seed": str(cell["seed"])})
    backbones = set(manifest.get("backbones", ()))
    teachers = [
        PlannedRun(run, "teacher", tuple(cells.pop(run, ())), tuple(needs.get(run, ())), run in backbones)
        for run in manifest["teachers"]
    ]
    students = [PlannedRun(run, "student", tuple(found), tuple(needs.get(run, ()))) for run, found in cells.items()]
    return [*teachers, *students, *(PlannedRun(run, "orphan") for run in manifest["orphans"])]


def manifest_axes(manifest: Mapping[str, Any]) -> list[str]:
    """Return every axis that a cell has a label on, those of the manifest's list first."""
    axes_of_cells = (axis for cell in manifest["cells"] for axis in cell["labels"])
    return list(dict.fromkeys([*manifest["axes"], *axes_of_cells]))


def manifest_runs(manifest: Mapping[str, Any]) -> set[str]:
    """Return the ids of all runs: of cells, teachers and orphans."""
    return {cell["run"] for cell in manifest["cells"]} | {*manifest["teachers"], *manifest["orphans"]}


def _check(manifest: Mapping[str, Any]) -> None:
    axes = required(manifest, "axes")
    if not isinstance(axes, dict):
        raise FormatError(f"axes is {type_name(axes)} where an object belongs")
    for axis, labels in axes.items():
        _check_label(axis, "an axis")
        for label in items(labels, f"axes.{axis!a:.60}"):
            _check_label(label, f"a label of axes.{axis!a:.60}")
    for index, cell in enumerate(items(required(manifest, "cells"), "cells")):
        _check_cell(cell, f"cells[{index}]")
    for key in ("teachers", "orphans", "backbones"):
        for run in items(manifest.get(key, []) if key == "backbones" else required(manifest, key), key):
            _check_run(run, key)
    needs = required(manifest, "needs")
    if not isinstance(needs, dict):
        raise FormatError(f"needs is {type_name(needs)} where an object belongs")
    for run, teachers in needs.items():
        _check_run(run, "needs")
        for teacher in items(teachers, f"needs.{run!a:.60}"):
            _check_run(teacher, f"needs.{run!a:.60}")
    for key in ("name", "question", "source", "definition", "size"):
        _check_label(manifest.get(key, ""), key)
    _check_labels(manifest.get("labels_of_axes", {}), "labels_of_axes")
    labels = manifest.get("labels", {})
    if not isinstance(labels, dict):
        raise FormatError(f"labels is {type_name(labels)} where an object belongs")
    for axis, found in labels.items():
        _check_labels(found, f"labels.{axis!a:.60}")
    for seed in items(manifest.get("seeds", []), "seeds"):
        _check_seed(seed, "seeds")


def _check_cell(cell: Any, name: str) -> None:
    if not isinstance(cell, dict):
        raise FormatError(f"{name} is {type_name(cell)} where an object belongs")
    _check_labels(required(cell, "labels"), f"{name}.labels")
    _check_seed(required(cell, "seed"), f"{name}.seed")
    _check_run(required(cell, "run"), f"{name}.run")


def _check_labels(value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise FormatError(f"{name} is {type_name(value)} where an object belongs")
    for axis, label in value.items():
        _check_label(axis, f"a key of {name}")
        _check_label(label, f"{name}.{axis!a:.60}")


def _check_label(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise FormatError(f"{name} is {type_name(value)} where text belongs")
    try:
        # JSON can hold one half of a surrogate pair ("\ud800"), UTF-8 cannot.
        value.encode()
    except UnicodeEncodeError:
        raise FormatError(f"{name} is {value!a:.60}, which no file can hold") from None


def _check_seed(value: Any, name: str) -> None:
    if whole(value, name, high=MAX_SEED) is None:
        raise FormatError(f"{name} is null where a whole number belongs")


def _check_run(value: Any, name: str) -> None:
    if not is_run_id(value) or value in SHARED_FOLDERS or value.startswith("."):
        raise FormatError(f"{name} holds {value!a:.60} where a run id belongs")
