"""`check`: everything that can be found wrong with a grid before a queue sees it, all of it at once.

The first part reads files only: batch and processes, teachers, data sets, weight files, the store. The second builds
each structure once and takes a step (rehearsal.py); without torch it says that it did not.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2d.core.run_folder import RunFolder
from c2d.specs.spec import RunSpec
from sweeps.checks import static_checks
from sweeps.checks.dry_run_process import Question, dry_run
from sweeps.checks.static_checks import RunProblem
from sweeps.definition.profile import Profile
from sweeps.launchers.launch_request import PrintLine

if TYPE_CHECKING:
    from sweeps.definition.definition import Definition
    from sweeps.definition.expand import Grid

SHOWN = 3
FREE_GIB = 10.0
RUN_GIB = 0.6
"""What a run of a ResNet-50 detector leaves while it trains: two checkpoints with momentum, and its weights."""


@dataclass(frozen=True)
class Problem:
    """One thing to mend. `where`: the cells it concerns, or a file."""

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
    """All problems of a grid, those of the files first; an empty list when there is none.

    Args:
        definition: where the grid comes from, for messages.
        runs: the store; data: root of the data cards (None: C2D_DATA, else ./data).
        profile: the machine it shall run on, or None for this one.
        forward: build each structure and take one step, which needs torch and some seconds a structure.
        say: gets lines about progress, and what could not be checked.
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
    cards, found = static_checks.datasets(specs, data, print_line)
    found += static_checks.batches(specs, profile)
    found += static_checks.students(specs, runs)
    found += static_checks.first_weights(specs, runs, profile, print_line)
    found += static_checks.teachers(specs, planned, cards, runs)
    problems = _store(definition.source, specs, runs, print_line)
    if forward:
        stopped = {item.run for item in found if item.stops}
        asked = [
            Question(
                run,
                spec,
                {k: planned[v] for k, v in static_checks.kinds(spec).items() if v in planned},
                static_checks.classes(spec, cards),
            )
            for run, spec in specs.items()
            if run not in stopped
        ]
        if stopped:
            print_line(f"{len(stopped)} of {len(specs)} runs have a problem already and are not rehearsed")
        found += [RunProblem(*item) for item in dry_run(asked, runs, data, print_line)]
    return problems + _merged(found, cells)


def _label(labels: dict[str, str], seed: int) -> str:
    return ", ".join(f"{axis}={label}" for axis, label in {**labels, "seed": seed}.items())


def _merged(found: list[RunProblem], cells: dict[str, list[str]]) -> list[Problem]:
    """One problem for each message, with the cells it concerns."""
    where: dict[tuple[str, str], dict[str, None]] = {}  # ordered, and looked up in constant time
    for item in found:
        where.setdefault((item.message, item.failure_class), {}).update(dict.fromkeys(cells[item.run]))
    return [Problem(_some(list(places)), message, kind) for (message, kind), places in where.items()]


def _some(places: list[str]) -> str:
    return "; ".join(places[:SHOWN]) + (f"; and {len(places) - SHOWN} more" if len(places) > SHOWN else "")


def _store(source: str, specs: dict[str, RunSpec], runs: Path, print_line: PrintLine) -> list[Problem]:
    """Can it be written to, and is there room? Little room is said, not refused: files of other runs may go."""
    place = runs.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return [Problem(source, f"the store {runs} cannot be written: {place} is no folder one may write to; "
                        "give another with --runs", "disk")]  # fmt: skip
    free = shutil.disk_usage(place).free / 2**30
    if free < FREE_GIB:
        new = [run for run in specs if RunFolder(runs / run).read_status()["state"] != "done"]
        each = _typical_gib(runs)
        print_line(
            f"warning: {free:.1f} GiB are free in {place}; {len(new)} new runs need about {len(new) * each:.1f} GiB "
            f"({each:.2f} each); `c2d sweep gc` shows what can go"
        )
    return []


def _typical_gib(runs: Path) -> float:
    """Mean size of the newest runs that have weights or checkpoints; RUN_GIB in a new store."""
    folders = sorted((path.parent for path in runs.glob("*/status.json")), key=lambda path: -path.stat().st_mtime)[:10]
    sizes = [sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**30 for folder in folders]
    return sum(sizes) / len(sizes) if sizes else RUN_GIB
