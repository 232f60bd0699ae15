"""runs/sweeps/<sweep>.json: the question, its axes and the runs it promised. What is missing can only be known from it.

The record is written at submission and read by every later command and by analysis, from any shell, without the YAML.
A cell that a changed definition no longer has stays in the store; its run is listed under `orphans`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import atomic_write_json, read_json
from c2d.core.store_folder import SWEEPS, sweep_record_path

if TYPE_CHECKING:
    from c2d.specs.spec import RunSpec
    from sweeps.definition.definition import Definition
    from sweeps.definition.expand import Grid

FORMAT = 1
Labels = dict[str, str]


@dataclass(frozen=True)
class Promise:
    """One run a sweep has promised: which cells it answers and which teachers it needs first.

    cells: {axis: label, ..., "seed": "0"} each; a teacher has none, nor has an orphan, which is no longer asked for.
    """

    run: str
    kind: Literal["teacher", "student", "orphan"]
    cells: tuple[Labels, ...] = ()
    needs: tuple[str, ...] = ()


def record_of(definition: Definition, grid: Grid, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """The record of a definition. Runs of `before`, the one it replaces, that are no longer asked for are orphans."""
    labels: dict[str, dict[str, None]] = {}
    for cell in grid.cells:
        for axis, label in cell.labels.items():
            labels.setdefault(axis, {})[label] = None
    needs = {cell.run: _needs(cell.spec) for cell in grid.cells}
    needs |= {spec.id: _needs(spec) for spec in grid.teachers}
    promised = set(needs)
    old = [] if before is None else [promise.run for promise in promises(before)]
    return {
        "format": FORMAT,
        "name": definition.name,
        "question": definition.question,
        "source": definition.source,
        "size": definition.size,
        "axes": {axis: list(found) for axis, found in labels.items()},
        "seeds": list(definition.seeds),
        "cells": [{"labels": cell.labels, "seed": cell.seed, "run": cell.run} for cell in grid.cells],
        "teachers": [spec.id for spec in grid.teachers],
        "needs": {run: list(teachers) for run, teachers in needs.items() if teachers},
        "orphans": sorted({run for run in old if run not in promised}),
        "definition": definition.text,
    }


def _needs(spec: RunSpec) -> list[str]:
    return [run for run in (spec.teachers.classifier, spec.teachers.detector) if run is not None]


def promises(record: Mapping[str, Any]) -> list[Promise]:
    """Every distinct run: teachers, students in the order of their first cell, orphans."""
    needs = record["needs"]
    found: dict[str, list[Labels]] = {}
    for cell in record["cells"]:
        found.setdefault(cell["run"], []).append({**cell["labels"], "seed": str(cell["seed"])})
    teachers = [
        Promise(run, "teacher", tuple(found.pop(run, ())), tuple(needs.get(run, ()))) for run in record["teachers"]
    ]
    students = [Promise(run, "student", tuple(cells), tuple(needs.get(run, ()))) for run, cells in found.items()]
    return [*teachers, *students, *(Promise(run, "orphan") for run in record["orphans"])]


def also_in(runs: Path, name: str, ids: set[str]) -> dict[str, list[str]]:
    """{run: other sweeps of the store that ask for it as well} of those of `ids` that are shared."""
    found: dict[str, list[str]] = {}
    for path in sorted((runs / SWEEPS).glob("*.json")):
        if path.stem == name:
            continue
        try:
            other = {promise.run for promise in promises(read_record(runs, path.stem)) if promise.kind != "orphan"}
        except InputError:
            continue
        for run in ids & other:
            found.setdefault(run, []).append(path.stem)
    return found


def write_record(runs: Path, record: dict[str, Any]) -> None:
    atomic_write_json(sweep_record_path(runs, record["name"]), record)


def read_record(runs: Path, given: str) -> dict[str, Any]:
    """The record of a submitted sweep, by its name or by the path of its definition.

    Raises:
        InputError: nothing of that name was submitted to this store.
    """
    name = given
    if given.endswith((".yaml", ".yml")):
        from sweeps.definition.definition import read_definition

        name = read_definition(given).name if Path(given).is_file() else Path(given).stem
    if not sweep_record_path(runs, name).is_file():
        known = sorted(path.stem for path in (runs / SWEEPS).glob("*.json"))
        raise unknown_name(f"sweep in {runs}/sweeps", name, known, "submit it first, or name another store with --runs")
    record = read_json(sweep_record_path(runs, name))
    if not isinstance(record, dict) or record.get("format") != FORMAT or "needs" not in record:
        raise InputError(
            f"{sweep_record_path(runs, name)} is not a sweep record of format {FORMAT}; submit the sweep again"
        )
    return record
