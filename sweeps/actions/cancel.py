"""Stop runs: only on demand, and only those that were listed. Changing a definition never stops a run."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from c2d.core.job_file import Job, read_job, write_job
from c2d.core.run_folder import RunFolder
from sweeps.actions.workspace import submission_lock
from sweeps.scheduler.cancel_jobs import CancelRefused, cancel_jobs
from sweeps.state.plan import Row

SHOWN = 8


@dataclass
class CancelReport:
    """What a cancel did.

    Attributes:
        lines: for a person.
        refused: number of jobs and processes that continue.
    """

    lines: list[str] = field(default_factory=list)
    refused: int = 0


def cancellable(rows: list[Row]) -> list[Row]:
    """Return the rows that run, or wait in a queue, their canaries included."""
    return [row for row in rows if row.state in ("waiting", "running") and row.deciding_job and not row.launch]


def cancel_runs(rows: list[Row], runs: Path) -> CancelReport:
    """Cancel the jobs of rows, and of their canaries, under the store's submission lock.

    The file of a launch has the state `cancelling` before the signal is sent, so that no teardown requeues the job
    meanwhile; `cancelled` afterwards, or what it had before where SLURM refuses or does not answer.

    Raises:
        slurm_command.Unreachable: SLURM does not answer; the jobs continue, and the call can be repeated.
        RunError: scancel is missing or failed; the jobs continue.
    """
    report = CancelReport()
    jobs: dict[str, tuple[RunFolder, bool, Job]] = {}
    with submission_lock(runs):
        for row in rows:
            launches = [(canary, job) for canary, job in ((False, row.job), (True, row.canary)) if job is not None]
            # A new launch since the rows were read: its job is not the one that was listed and confirmed.
            now = [read_job(row.run, canary=canary) for canary, _ in launches]
            is_same = [job for _, job in launches] == now or (row.is_deleted and now == [None])
            if not is_same or any(job.state == "submitting" for _, job in launches):
                report.lines.append(f"{row.run.id}: another shell is launching it; cancel it again in a minute")
                continue
            for canary, job in launches:
                if job.where == "slurm" and job.job is not None:
                    jobs[job.job] = (row.run, canary, job)
                else:
                    _cancel_local(row, job, report)
        if jobs:
            _cancel_jobs(jobs, report)
    return report


def _cancel_jobs(jobs: dict[str, tuple[RunFolder, bool, Job]], report: CancelReport) -> None:
    """Cancel jobs of SLURM.

    Args:
        jobs: {job id: (run, whether it is a canary, launch)}.
    """

    def write(state: str, names: list[str]) -> None:
        for name in names:
            run, canary, job = jobs[name]
            write_job(run, job.model_copy(update={"state": state}), canary=canary)

    refused: dict[str, str] = {}
    try:
        write("cancelling", list(jobs))
        cancel_jobs(jobs)
    except CancelRefused as error:
        refused = error.jobs
    except BaseException:
        write("submitted", list(jobs))
        raise
    # A whole array is refused by its own number.
    kept = [name for name in jobs if name in refused or name.split("_")[0] in refused]
    write("submitted", kept)
    gone = [name for name in jobs if name not in kept]
    write("cancelled", gone)
    if gone:
        report.lines.append(
            f"cancelled {len(gone)} jobs: {', '.join(gone[:SHOWN])}{', ...' if len(gone) > SHOWN else ''}"
        )
    for name in kept:
        reason = refused.get(name) or refused[name.split("_")[0]]
        report.lines.append(f"{jobs[name][0].id}: scancel refused job {name}: {reason}; it continues")
    report.refused += len(kept)


def _cancel_local(row: Row, job: Job, report: CancelReport) -> None:
    """Remove a run from the queue of a local launcher, or stop its process on this host."""
    host, pid = row.status.get("host"), row.status.get("pid")
    if row.state == "running" and host != socket.gethostname():
        report.lines.append(f"{row.run.id}: runs as pid {pid} on {host} and continues; cancel it on that host")
        report.refused += 1
        return
    before = job
    write_job(row.run, job.model_copy(update={"state": "cancelled"}))  # its launcher starts it no more
    if row.state == "waiting":
        report.lines.append(f"{row.run.id}: removed from the local queue of pid {job.pid} on {job.host}")
        return
    try:
        with suppress(ProcessLookupError):
            os.kill(int(row.status["pid"]), signal.SIGTERM)
        report.lines.append(f"{row.run.id}: sent TERM to pid {pid}, which saves and stops")
    except PermissionError:
        write_job(row.run, before)
        report.lines.append(f"{row.run.id}: pid {pid} belongs to another user and continues")
        report.refused += 1
