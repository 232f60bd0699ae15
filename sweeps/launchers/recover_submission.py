"""Launches of which nobody knows the end: the launcher died, or SLURM did not answer, between two lines of job.json."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from c2d.core.job_file import Job, is_launcher_alive, read_job, write_job
from sweeps.launchers import submission
from sweeps.scheduler import queue

SETTLING_S = 60.0  # after a launcher's death its job may still appear in the queue
FOREIGN_S = 600.0  # the launcher of another host cannot be asked whether it lives


def recover_submission(job: Job) -> Job | None:
    """What has become of a launch that says `submitting`: the completed Job, or None where it never reached SLURM.

    A job that is not `submitting`, one whose launcher still works on it, and one of which nobody can say anything now,
    come back as they are. Completes, or clears, job.json of every run of that array.
    """
    if job.where != "slurm" or job.state != "submitting" or (job.pid != os.getpid() and is_launcher_alive(job)):
        return job
    folder = Path(job.folder)
    members = submission.read_folders(folder)
    if job.task < len(members):  # another run of the array may have been asked about before
        current = read_job(members[job.task])
        if current is None or current.name != job.name or current.state != "submitting":
            return current
    facts = submission.read_array(folder)
    try:
        number = str(facts["job"]) if facts else queue.find_by_name(job.name)
    except queue.Unreachable:
        return job
    if number is None and _age_s(job) < (SETTLING_S if job.host == socket.gethostname() else FOREIGN_S):
        return job
    for run in members:
        current = read_job(run)
        if current is None or current.name != job.name or current.state != "submitting":
            continue
        if number is None:
            run.job.unlink(missing_ok=True)
        else:
            write_job(run, submitted_job(current, number, len(members)))
    return None if number is None else submitted_job(job, number, len(members))


def submitted_job(job: Job, number: str, count: int) -> Job:
    """job.json once the number of its array (of `count` tasks) is known."""
    return job.model_copy(update={"state": "submitted", "job": submission.job_id(number, job.task, count)})


def _age_s(job: Job) -> float:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(job.submitted)).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
