"""Build the manifest of a sweep from its definition, and read one by what a person gives.

The format and its checks are those of `c2d.core.sweep_manifest`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.errors import InputError, unknown_name
from c2d.core.json_values import FORMAT
from c2d.core.regular_file import Problem, file_state, is_file
from c2d.core.store_folder import RunStore, is_run_id
from c2d.core.sweep_manifest import planned_runs, read_manifest, sweep_names
from c2d.specs.teachers import needed_runs
from sweeps.definition.definition import read_definition

if TYPE_CHECKING:
    from sweeps.definition.definition import Definition
    from sweeps.definition.expand import Grid


LAUNCHER_KEYS = ("where", "profile")


def with_launcher(manifest: dict[str, Any], where: str, profile: str) -> dict[str, Any]:
    """Return the manifest with the launcher of a submission; a local launch does not replace SLURM.

    Args:
        where: local or slurm.
        profile: name of the profile.
    """
    keeps = manifest.get("where") == "slurm" and where != "slurm"
    return manifest if keeps else {**manifest, "where": where, "profile": profile}


def build_manifest(definition: Definition, grid: Grid, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the manifest of a definition.

    Args:
        grid: the cells of the definition and their teachers.
        before: the manifest that it replaces. Its runs that are no longer planned become orphans.
    """
    labels: dict[str, dict[str, None]] = {}
    for cell in grid.cells:
        for axis, label in cell.labels.items():
            labels.setdefault(axis, {})[label] = None
    needs = {cell.run: list(needed_runs(cell.spec.teachers).values()) for cell in grid.cells}
    needs |= {spec.id: list(needed_runs(spec.teachers).values()) for spec in grid.teachers}
    backbones = sorted({str(cell.spec.teachers.backbone) for cell in grid.cells} & {spec.id for spec in grid.teachers})
    previous = set() if before is None else {planned.run for planned in planned_runs(before)}
    return {
        "format": FORMAT,
        "name": definition.name,
        "question": definition.question,
        "source": definition.source,
        "size": definition.size,
        "axes": {axis: list(found) for axis, found in labels.items()},
        "labels": definition.labels,
        "labels_of_axes": definition.labels_of_axes,
        "seeds": list(definition.seeds),
        "cells": [{"labels": cell.labels, "seed": cell.seed, "run": cell.run} for cell in grid.cells],
        "teachers": [spec.id for spec in grid.teachers],
        **({"backbones": backbones} if backbones else {}),
        "needs": {run: teachers for run, teachers in needs.items() if teachers},
        # The keys of `needs` are all planned runs, those without teachers included.
        "orphans": sorted(previous - set(needs)),
        "definition": definition.text,
        # The launcher of the sweep: SLURM once it was submitted there, with the profile of that submission.
        **({key: before[key] for key in LAUNCHER_KEYS if key in before} if before is not None else {}),
    }


def load_manifest(runs: Path, given: str) -> dict[str, Any]:
    """Return the manifest of a submitted sweep.

    Args:
        runs: the store.
        given: name of the sweep, or path of its definition.

    Raises:
        InputError: no such sweep was submitted to this store, or its manifest is damaged.
    """
    name = given
    if given.endswith((".yaml", ".yml")):
        name = read_definition(given).name if is_file(Path(given)) else Path(given).stem
    if not is_run_id(name) or file_state(RunStore(runs).manifest(name)) is None:
        hint = "submit it first, or name another store with --runs"
        raise unknown_name(f"sweep in {RunStore(runs).sweeps}", name, sweep_names(runs), hint)
    manifest = read_manifest(runs, name)
    if isinstance(manifest, Problem):
        raise InputError(f"manifest {manifest.path} {manifest.message}; submit the sweep again")
    return manifest


def sweeps_sharing(runs: Path, name: str, ids: set[str]) -> dict[str, list[str]]:
    """Return {run: names of the other sweeps that plan it as well} for those of `ids` that are shared."""
    found: dict[str, list[str]] = {}
    for other in sweep_names(runs):
        manifest = read_manifest(runs, other) if other != name else None
        if manifest is None or isinstance(manifest, Problem):
            continue
        for run in ids & {planned.run for planned in planned_runs(manifest) if planned.kind != "orphan"}:
            found.setdefault(run, []).append(other)
    return found
