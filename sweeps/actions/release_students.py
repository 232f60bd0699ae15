"""Students of every sweep that wait for a shared teacher: a retry of the teacher launches them again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.regular_file import Problem
from c2d.core.sweep_manifest import planned_runs, read_manifest, sweep_names
from sweeps.actions.relaunch import UNCHANGED, RelaunchOptions, relaunch
from sweeps.actions.workspace import Workspace
from sweeps.launchers.launch_request import PrintLine
from sweeps.state.plan import Row, read_plan


@dataclass(frozen=True)
class ReleasedStudents:
    """The students of one other sweep that are launched again.

    Attributes:
        manifest: of that sweep.
        rows: of the whole sweep.
        chosen: those that are launched.
    """

    manifest: dict[str, Any]
    rows: list[Row]
    chosen: list[Row]


def students_of_other_sweeps(runs: Path, sweep: str, retried: Collection[str]) -> Iterator[ReleasedStudents]:
    """Yield, for every other sweep of the store, the submitted students that only retried runs have blocked.

    Args:
        runs: the store.
        sweep: the one whose runs are retried.
        retried: ids of its runs that are launched again.
    """
    taken = set(retried)
    for name in sweep_names(runs):
        manifest = read_manifest(runs, name) if name != sweep else None
        if manifest is None or isinstance(manifest, Problem):
            continue
        if not any(set(entry.needs) & set(retried) for entry in planned_runs(manifest)):
            continue
        rows, _ = read_plan(manifest, runs)
        by_id, freed, chosen = {row.run.id: row for row in rows}, set(retried), list[Row]()
        for row in rows:
            blocking = {need for need in row.needs if need in by_id and by_id[need].state in ("failed", "blocked")}
            waits = set(row.needs) & freed and blocking <= freed and (row.state == "blocked" or row.is_released)
            in_slurm = row.job is not None and row.job.where == "slurm"
            if waits and in_slurm and row.kind != "orphan" and row.run.id not in taken:
                chosen.append(row)
                freed.add(row.run.id)
        taken |= freed
        if chosen:
            yield ReleasedStudents(manifest, rows, chosen)


def relaunch_with_students(
    record: dict[str, Any],
    rows: list[Row],
    chosen: list[Row],
    workspace: Workspace,
    print_line: PrintLine,
    options: RelaunchOptions = UNCHANGED,
) -> int:
    """Launch rows of a sweep again, then the students of other sweeps that wait for them; return the worst exit code.

    The students are launched with the profile, the data and the code of their own last launch. Runs of another launcher
    than SLURM release none: a job of SLURM cannot wait for them.

    Args:
        record: of the sweep.
        rows: of the whole sweep.
        chosen: see `sweeps.actions.select_retries`.
        workspace: as for `relaunch`.
        print_line: called with a line for each student of another sweep, and about each launch.
        options: of the chosen rows.
    """
    submitted = {row.run.id for row in chosen if (options.where or (row.job.where if row.job else "")) == "slurm"}
    # Read before the launch: afterwards the teacher has not failed any more.
    released = list(students_of_other_sweeps(workspace.runs, record["name"], submitted))
    worst = relaunch(record, rows, chosen, workspace, print_line, options)
    for students in released:
        for row in students.chosen:
            print_line(f"retry: {row.run.id} of sweep {students.manifest['name']} ({row.reason})")
        worst = max(worst, relaunch(students.manifest, students.rows, students.chosen, workspace, print_line))
    return worst
