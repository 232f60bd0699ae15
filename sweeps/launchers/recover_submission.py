"""Recover launches whose outcome is unknown: the launcher died, or SLURM did not answer, before the number came."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from c2d.core.job_file import Job, is_launcher_alive, read_job, write_job
from c2d.core.run_folder import RunFolder
from c2d.core.run_state import time_stamp
from sweeps.launchers import submission
from sweeps.scheduler import array_file, queue, slurm_command

APPEAR_S = 60.0  # a job may appear in the queue after its launcher has died
OTHER_HOST_S = 600.0  # a launcher on another host may be running: its pid cannot be checked


def recover_submissions(ids: Iterable[str], runs: Path) -> None:
    """Recover every run of a store that is `submitting`. Call it under the submission lock.

    Args:
        ids: run ids.
    """
    for run_id in ids:
        for canary in (False, True):
            job = read_job(RunFolder(runs / run_id), canary=canary)
            if job is not None and job.state == "submitting":
                recover_submission(job, canary=canary)


def recover_submission(job: Job, *, canary: bool = False) -> Job | None:
    """Complete, or remove, job.json (of a canary canary.json) of every run of an array that is `submitting`.

    Returns:
        The completed Job; None where the array never reached SLURM; `job` itself where it is not `submitting`, where
        its launcher is still running, or where SLURM does not answer now.
    """
    if job.where != "slurm" or job.state != "submitting" or (job.pid != os.getpid() and is_launcher_alive(job)):
        return job
    folder = Path(job.folder)
    members = submission.read_folders(folder)
    if job.task < len(members):  # a call for another run of the array may have recovered it
        current = read_job(members[job.task], canary=canary)
        if current is None or current.name != job.name or current.state != "submitting":
            return current
    facts = array_file.read_array(folder)
    try:
        number = str(facts["job"]) if facts else queue.find_by_name(job.name)
    except slurm_command.Unreachable:
        return job
    if number is None and unknown_for_s(job) > 0:
        return job
    for run in members:
        current = read_job(run, canary=canary)
        if current is None or current.name != job.name or current.state != "submitting":
            continue
        if number is None:
            (run.canary if canary else run.job).unlink(missing_ok=True)
        else:
            write_job(run, submitted_job(current, number, len(members)), canary=canary)
    return None if number is None else submitted_job(job, number, len(members))


def submitted_job(job: Job, number: str, count: int) -> Job:
    """Return the content of job.json when SLURM has taken its array.

    Args:
        number: of the array.
        count: tasks of the array.
    """
    return job.model_copy(update={"state": "submitted", "job": submission.job_id(number, job.task, count)})


def unknown_for_s(job: Job) -> float:
    """Return for how many more seconds a job that SLURM does not list may still appear; 0: it never reached SLURM.

    Args:
        job: `submitting`, by a launcher that has ended.
    """
    submitted = time_stamp(job.submitted)
    if submitted is None:
        return 0.0
    limit_s = APPEAR_S if job.host == socket.gethostname() else OTHER_HOST_S
    # A clock that was set back since must not make it wait until that time comes again.
    return max(0.0, limit_s - abs(time.time() - submitted))
