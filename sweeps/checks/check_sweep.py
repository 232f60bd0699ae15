"""`check`: find all problems of a grid before it is submitted.

The first part reads files only: batch and processes, teachers, data sets, weight files, the store. The second builds
each structure once and takes a training step (dry_run_process.py); without torch it is skipped with a message.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2d.core.run_folder import STATUS_FILE, RunFolder
from c2d.specs.spec import RunSpec
from c2d.specs.teachers import needed_runs
from sweeps.checks import static_checks
from sweeps.checks.dry_run_process import DryRunRequest, dry_run
from sweeps.checks.static_checks import RunProblem
from sweeps.definition.profile import Profile
from sweeps.launchers.launch_request import PrintLine

if TYPE_CHECKING:
    from sweeps.definition.definition import Definition
    from sweeps.definition.expand import Grid

SHOWN_CELLS = 3
FREE_GIB = 10.0
RUN_GIB = 0.6
"""Disk space of a ResNet-50 detector in training: two checkpoints with momentum, and its weights."""


@dataclass(frozen=True)
class Problem:
    """One problem to fix.

    Attributes:
        where: cells, or a file.
        message: what is wrong, and how to fix it.
        failure_class: see c2d/core/failure_classes.py.
    """

    where: str
    message: str
    failure_class: str = "config"


def check_sweep(
    definition: Definition,
    grid: Grid,
    runs: Path,
    data: Path | None,
    profile: Profile | None,
    forward: bool = True,
    print_line: PrintLine = print,
) -> list[Problem]:
    """Return all problems of a grid, those of the files first.

    Args:
        definition: of the grid, for messages.
        grid: cells and teachers.
        runs: the store.
        data: root of the data cards; None: C2D_DATA, else ./data.
        profile: the machine of the runs; None: this one.
        forward: build each structure and take one step, which needs torch and a few seconds a structure.
        print_line: called with lines about progress, and about checks that were skipped.
    """
    cells: dict[str, list[str]] = {}
    specs: dict[str, RunSpec] = {}
    for teacher in grid.teachers:
        specs[teacher.id] = teacher
        cells.setdefault(teacher.id, []).append(f"teacher {teacher.id}")
    for cell in grid.cells:
        specs.setdefault(cell.run, cell.spec)
        cells.setdefault(cell.run, []).append(_label(cell.labels, cell.seed))
    planned = {teacher.id: teacher for teacher in grid.teachers}
    cards, found = static_checks.datasets(specs, data, runs, print_line, definition.argument)
    found += static_checks.batches(specs, profile)
    found += static_checks.students(specs, runs)
    found += static_checks.first_weights(specs, runs, profile, print_line, definition.argument)
    found += static_checks.teachers(specs, planned, cards, runs)
    problems = _store(definition.source, specs, runs, print_line)
    if profile is not None and (late := profile.signal_problem(definition.size)):
        problems.append(Problem(definition.source, late))
    if forward:
        broken = {item.run for item in found if item.skips_dry_run}
        requests = [
            DryRunRequest(
                run,
                spec,
                {k: planned[v] for k, v in needed_runs(spec.teachers).items() if v in planned},
                static_checks.classes(spec, cards),
            )
            for run, spec in specs.items()
            if run not in broken
        ]
        if broken:
            print_line(f"{len(broken)} of {len(specs)} runs have a problem already; no dry run of them")
        found += [RunProblem(*item) for item in dry_run(requests, runs, data, print_line)]
    return problems + _merged(found, cells)


def _label(labels: dict[str, str], seed: int) -> str:
    return ", ".join(f"{axis}={label}" for axis, label in {**labels, "seed": seed}.items())


def _merged(found: list[RunProblem], cells: dict[str, list[str]]) -> list[Problem]:
    """Return one problem for each message, with its cells."""
    where: dict[tuple[str, str], dict[str, None]] = {}  # ordered, and looked up in constant time
    for item in found:
        where.setdefault((item.message, item.failure_class), {}).update(dict.fromkeys(cells[item.run]))
    return [Problem(_some(list(places)), message, kind) for (message, kind), places in where.items()]


def _some(places: list[str]) -> str:
    return "; ".join(places[:SHOWN_CELLS]) + (
        f"; and {len(places) - SHOWN_CELLS} more" if len(places) > SHOWN_CELLS else ""
    )


def _store(source: str, specs: dict[str, RunSpec], runs: Path, print_line: PrintLine) -> list[Problem]:
    """Check that the store is writable, and warn about little free space: files of other runs can be removed."""
    place = runs.absolute()
    # The store may not exist yet; then the nearest folder above it must be writable.
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return [Problem(source, f"the store {runs} cannot be written: {place} is not a writable folder; "
                        "give another with --runs", "disk")]  # fmt: skip
    free = shutil.disk_usage(place).free / 2**30
    if free < FREE_GIB:
        new = [run for run in specs if RunFolder(runs / run).try_read_status()["state"] != "done"]
        each = _typical_gib(runs)
        print_line(
            f"warning: {free:.1f} GiB are free in {place}; {len(new)} new runs need about {len(new) * each:.1f} GiB "
            f"({each:.2f} each); `c2d sweep gc` lists files to remove"
        )
    return []


def _typical_gib(runs: Path) -> float:
    """Return the mean size in GiB of the newest runs; RUN_GIB in a new store."""
    newest_first = sorted(runs.glob(f"*/{STATUS_FILE}"), key=lambda path: -path.parent.stat().st_mtime)
    folders = [path.parent for path in newest_first[:10]]
    sizes = [sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**30 for folder in folders]
    return sum(sizes) / len(sizes) if sizes else RUN_GIB
