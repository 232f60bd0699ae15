"""Stopping runs: only on demand, only what was listed. Changing or shrinking a definition never comes here."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

from sweeps import queue
from sweeps.jobs import write_job
from sweeps.plan import Row


def stoppable(rows: list[Row]) -> list[Row]:
    """Rows that wait in a queue or run."""
    return [row for row in rows if row.state in ("waiting", "running", "blocked") and row.job and not row.launch]


def cancel(rows: list[Row]) -> list[str]:
    """Cancel their jobs; returns a line about each kind of stop.

    job.json says `cancelled` before the signal is sent, so that no teardown puts the job back into the queue.
    """
    lines, jobs = [], []
    for row in rows:
        assert row.job is not None
        write_job(row.run, row.job.model_copy(update={"state": "cancelled"}))
        if row.job.where == "slurm" and row.job.job is not None:
            jobs.append(row.job.job)
        elif row.state == "running" and row.status.get("host") == socket.gethostname():
            with suppress(ProcessLookupError):
                os.kill(int(row.status["pid"]), signal.SIGTERM)
            lines.append(f"{row.run.id}: asked pid {row.status['pid']} to save and stop")
        else:
            lines.append(f"{row.run.id}: taken out of the local queue of pid {row.job.pid} on {row.job.host}")
    if jobs:
        queue.cancel(jobs)
        lines.append(f"cancelled {len(jobs)} jobs: {', '.join(jobs[:8])}{', ...' if len(jobs) > 8 else ''}")
    return lines
