"""Launching failed or blocked runs once more: with the code, the profile and the data of their last launch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from c2d.core.job_file import read_job
from sweeps.actions import select_retries
from sweeps.actions.submit import Where, Workspace, recover_submissions, run_local, submission_lock, write_local_jobs
from sweeps.definition.profile import Profile, store_profile, stored_profile
from sweeps.launchers import LAUNCHERS
from sweeps.launchers.launch_request import LaunchRequest, PrintLine
from sweeps.launchers.snapshot import snapshot_folder, take_snapshot
from sweeps.state.plan import Row


@dataclass(frozen=True)
class RelaunchOptions:
    """What a person wants to be different this time; None: as it was.

    where: local or slurm.
    update_code: take the code as it is now; env.json of the next attempt says so.
    """

    where: Where | None = None
    profile: Profile | None = None
    data: Path | None = None
    update_code: bool = False


def again(
    record: dict[str, Any],
    rows: list[Row],
    chosen: list[Row],
    place: Workspace,
    print_line: PrintLine,
    changes: RelaunchOptions = RelaunchOptions(),
) -> int:
    """Launch the chosen rows; returns the launchers' worst exit code.

    A run that another shell has launched since `rows` were read is left to it.

    Args:
        rows: of the whole sweep; nodes that fail often and unfinished teachers are known from them.
        chosen: see `sweeps.actions.select_retries.choose`.
        place: its `where` and `profile` hold for runs that were never launched before.
    """
    worst = 0
    for where in ("slurm", "local"):  # the local launcher stays until its runs have ended
        with submission_lock(place.runs):
            recover_submissions((row.run.id for row in chosen), place.runs)
            mine = [row for row in chosen if (changes.where or (row.job.where if row.job else place.where)) == where]
            free = [row for row in mine if read_job(row.run) == row.job]
            for row in mine:
                if row not in free:
                    print_line(f"{row.run.id}: launched by another shell meanwhile")
            select_retries.note(free)
            orders = list(_orders(record["name"], rows, free, place, print_line, changes))
            for request in orders:
                if where == "slurm":
                    worst = max(worst, LAUNCHERS["slurm"](request, print_line))
                else:
                    write_local_jobs(request)
        if where == "local":
            worst = max([worst, *(run_local(request, print_line) for request in orders)])
    return worst


def _orders(
    sweep: str, rows: list[Row], chosen: list[Row], place: Workspace, print_line: PrintLine, changes: RelaunchOptions
) -> Iterator[LaunchRequest]:
    """Teachers, then students; of each one order for all rows with equal profile and data."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in chosen:  # teachers come first
        job = row.job
        data = changes.data or Path((job.data if job else "") or place.data)
        key = (row.kind, job.sweep if job else sweep, (job.profile if job else None) or "", str(data))
        groups.setdefault(key, []).append(row)
    for (_, owner, profile, root), group in groups.items():
        machine = changes.profile or (stored_profile(place.runs, owner, profile) if profile else place.profile)
        tasks = []
        for row in group:
            job = row.job
            kept = job is not None and not changes.update_code and snapshot_folder(place.runs, job.snapshot).is_dir()
            code = job.snapshot if job is not None and kept else take_snapshot(place.runs)
            tasks.append(replace(select_retries.raised(row, rows, machine, print_line), snapshot=code))
        store_profile(place.runs, sweep, machine)
        yield LaunchRequest(sweep, place.runs, Path(root).absolute(), tasks, machine, tasks[0].snapshot)
