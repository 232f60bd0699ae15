"""Launch failed or blocked runs again, with the code, the profile and the data of their last launch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.job_file import read_job
from sweeps.actions.code_of_runs import rows_with_code
from sweeps.actions.select_retries import record_missing_failures
from sweeps.actions.submit import run_local
from sweeps.actions.tasks import retry_task
from sweeps.actions.workspace import Where, Workspace, submission_lock
from sweeps.definition.profile import Profile, store_profile, stored_profile
from sweeps.launchers import LAUNCHERS
from sweeps.launchers.launch_request import LaunchRequest, PrintLine
from sweeps.launchers.local_jobs import write_local_jobs
from sweeps.launchers.recover_submission import recover_submissions
from sweeps.launchers.snapshot import take_snapshot
from sweeps.notification.end_job import NO_PLACE, ensure_end_job, has_message
from sweeps.notification.end_of_sweep import send_after_local
from sweeps.scheduler import queue
from sweeps.state.plan import Row


@dataclass(frozen=True)
class RelaunchOptions:
    """Changes of the next launch. None: as in the last launch.

    Attributes:
        where: launcher.
        profile: the machine.
        data: root of the data cards.
        update_code: use the current code; env.json of the next attempt records it.
    """

    where: Where | None = None
    profile: Profile | None = None
    data: Path | None = None
    update_code: bool = False


UNCHANGED = RelaunchOptions()


def relaunch(
    record: dict[str, Any],
    rows: list[Row],
    chosen: list[Row],
    workspace: Workspace,
    print_line: PrintLine,
    options: RelaunchOptions = UNCHANGED,
) -> int:
    """Launch the chosen rows; return the launchers' worst exit code.

    A run that another shell has launched since `rows` were read is left to that shell.

    Args:
        record: of the sweep.
        rows: of the whole sweep, to find nodes that fail often and teachers that are not done.
        chosen: see `sweeps.actions.select_retries`.
        workspace: its store and data; its profile where no other is known.

    Raises:
        InputError: a row has no known launcher; nothing was launched.
        slurm_command.Unreachable: SLURM does not answer; nothing was launched and nothing written.
    """
    places = {row.run.id: _where(row, record, rows, options) for row in chosen}
    if "slurm" in places.values():
        queue.check_controller()
    usable = chosen if options.update_code else rows_with_code(chosen, workspace.runs, print_line, started=False)
    worst = int(len(usable) < len(chosen))
    for where in ("slurm", "local"):  # the local launcher returns when its runs have ended, so it comes last
        with submission_lock(workspace.runs):
            recover_submissions((row.run.id for row in usable), workspace.runs)
            own = [row for row in usable if places[row.run.id] == where]
            free = [row for row in own if read_job(row.run) == row.job]
            for row in own:
                if row not in free:
                    print_line(f"{row.run.id}: launched by another shell meanwhile")
            record_missing_failures(free)
            requests = list(_requests(record, rows, free, workspace, print_line, options))
            for request in requests:
                if where == "slurm":
                    worst = max(worst, LAUNCHERS["slurm"](request, print_line))
                    if has_message(request.profile) and not ensure_end_job(workspace.runs, record["name"], print_line):
                        print_line(NO_PLACE)
                else:
                    write_local_jobs(request)
        if where == "local":
            for request in requests:
                worst = max(worst, run_local(request, print_line))
                send_after_local(workspace.runs, record["name"], request.profile, print_line)
    return worst


def _where(row: Row, record: dict[str, Any], rows: list[Row], options: RelaunchOptions) -> Where:
    """Return the launcher of a row's next launch. Nothing is trained on this machine unless it was before, or is asked.

    Raises:
        InputError: no launch of the row, of its sweep or of another row is known.
    """
    if options.where or row.job is not None:
        return options.where or (row.job.where if row.job else "slurm")
    known = {record.get("where"), *(other.job.where for other in rows if other.job is not None)}
    if "slurm" in known:
        return "slurm"
    if "local" in known:
        return "local"
    raise InputError(f"{row.run.id}: no launch of it is known; give --where slurm, or --where local to train it here")


def _profile(row_profile: str, owner: str, record: dict[str, Any], rows: list[Row], workspace: Workspace) -> Profile:
    """Return the profile of a last launch; of a run without one that of its sweep, or of another run of it."""
    others = (other.job for other in rows if other.job is not None and other.job.where == "slurm")
    other = next((job for job in others if job.profile), None)
    if name := row_profile or str(record.get("profile") or ""):
        return stored_profile(workspace.runs, owner, name)
    if other is not None and other.profile is not None:
        return stored_profile(workspace.runs, other.sweep, other.profile)
    return workspace.profile


def _requests(
    record: dict[str, Any],
    rows: list[Row],
    chosen: list[Row],
    workspace: Workspace,
    print_line: PrintLine,
    options: RelaunchOptions,
) -> Iterator[LaunchRequest]:
    """Yield requests, each after those whose runs it waits for; rows with equal profile and data share one."""
    nodes, sweep = queue.node_names(), str(record["name"])
    groups: dict[tuple[int, str, str, str], list[Row]] = {}
    levels: dict[str, int] = {}  # 0 a detector, 1 a synthesis of it, 2 its control, ...
    for row in chosen:  # teachers come first
        levels[row.run.id] = max((levels[need] + 1 for need in row.needs if need in levels), default=0)
        job = row.job
        data = options.data or Path((job.data if job else "") or workspace.data)
        key = (levels[row.run.id], job.sweep if job else sweep, (job.profile if job else None) or "", str(data))
        groups.setdefault(key, []).append(row)
    # sorted: of one level all, and in their order, before the next
    for (_, owner, profile_name, root), group in sorted(groups.items(), key=lambda item: item[0][0]):
        profile = options.profile or _profile(profile_name, owner, record, rows, workspace)
        tasks = []
        for row in group:
            job = row.job
            kept = job.snapshot if job is not None and not options.update_code else ""
            code = kept or take_snapshot(workspace.runs)
            task = retry_task(row, rows, profile, print_line, is_given=options.profile is not None)
            exclude = tuple(name for name in task.exclude if nodes is None or name in nodes)
            if len(exclude) < len(task.exclude):
                print_line(f"{row.run.id}: {', '.join({*task.exclude} - {*exclude})} is no node of SLURM; not excluded")
            tasks.append(replace(task, snapshot=code, exclude=exclude))
        store_profile(workspace.runs, sweep, profile)
        yield LaunchRequest(sweep, workspace.runs, Path(root).absolute(), tasks, profile, tasks[0].snapshot)
