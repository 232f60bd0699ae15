"""Stopping runs: only on demand, only what was listed. Changing or shrinking a definition never comes here."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from c2d.core.job_file import read_job, write_job
from sweeps.actions.submit import submission_lock
from sweeps.scheduler import queue
from sweeps.state.plan import Row


def stoppable(rows: list[Row]) -> list[Row]:
    """Rows that wait in a queue or run."""
    return [row for row in rows if row.state in ("waiting", "running") and row.job and not row.launch]


def cancel(rows: list[Row], runs: Path) -> list[str]:
    """Cancel their jobs; returns a line about each kind of stop.

    job.json says `cancelled` before the signal is sent, so that no teardown puts the job back into the queue; whoever
    writes it holds the store's submission lock.

    Raises:
        sweeps.scheduler.queue.Unreachable: SLURM does not answer; the jobs live, and `cancel` can be called again.
    """
    lines: list[str] = []
    jobs: list[str] = []
    with submission_lock(runs):
        for row in rows:
            job = read_job(row.run)
            if job is None or job.state == "submitting" or job != row.job:
                lines.append(f"{row.run.id}: another shell is launching it; call again in a minute")
                continue
            write_job(row.run, job.model_copy(update={"state": "cancelled"}))
            if job.where == "slurm" and job.job is not None:
                jobs.append(job.job)
            elif row.state == "waiting":
                lines.append(f"{row.run.id}: taken out of the local queue of pid {job.pid} on {job.host}")
            elif row.status.get("host") == socket.gethostname():
                with suppress(ProcessLookupError):
                    os.kill(int(row.status["pid"]), signal.SIGTERM)
                lines.append(f"{row.run.id}: asked pid {row.status['pid']} to save and stop")
            else:
                lines.append(f"{row.run.id}: still runs as pid {row.status.get('pid')} on {row.status.get('host')}")
        if jobs:
            queue.cancel(jobs)
            lines.append(f"cancelled {len(jobs)} jobs: {', '.join(jobs[:8])}{', ...' if len(jobs) > 8 else ''}")
    return lines
