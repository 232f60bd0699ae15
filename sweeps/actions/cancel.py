"""Stop runs: only on demand, and only those that were listed. Changing a definition never stops a run."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from c2d.core.job_file import read_job, write_job
from sweeps.actions.workspace import submission_lock
from sweeps.scheduler import queue
from sweeps.state.plan import Row


def cancellable(rows: list[Row]) -> list[Row]:
    """Return the rows that run, or wait in a queue."""
    return [row for row in rows if row.state in ("waiting", "running") and row.job and not row.launch]


def cancel_runs(rows: list[Row], runs: Path) -> list[str]:
    """Cancel the jobs of rows, under the store's submission lock.

    job.json has the state `cancelled` before the signal is sent, so that no teardown requeues the job.

    Returns:
        Lines about what was stopped.

    Raises:
        sweeps.scheduler.queue.Unreachable: SLURM does not answer; the jobs continue, and the call can be repeated.
    """
    lines: list[str] = []
    jobs: list[str] = []
    with submission_lock(runs):
        for row in rows:
            job = read_job(row.run)
            # A new launch since the rows were read: its job is not the one that was listed and confirmed.
            if job is None or job.state == "submitting" or job != row.job:
                lines.append(f"{row.run.id}: another shell is launching it; cancel it again in a minute")
                continue
            write_job(row.run, job.model_copy(update={"state": "cancelled"}))
            if job.where == "slurm" and job.job is not None:
                jobs.append(job.job)
            elif row.state == "waiting":
                lines.append(f"{row.run.id}: removed from the local queue of pid {job.pid} on {job.host}")
            elif row.status.get("host") == socket.gethostname():
                with suppress(ProcessLookupError):
                    os.kill(int(row.status["pid"]), signal.SIGTERM)
                lines.append(f"{row.run.id}: sent TERM to pid {row.status['pid']}, which saves and stops")
            else:
                lines.append(f"{row.run.id}: still runs as pid {row.status.get('pid')} on {row.status.get('host')}")
        if jobs:
            queue.cancel(jobs)
            lines.append(f"cancelled {len(jobs)} jobs: {', '.join(jobs[:8])}{', ...' if len(jobs) > 8 else ''}")
    return lines
