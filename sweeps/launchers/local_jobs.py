"""job.json of runs that this process launches on this machine: no other shell launches them as well."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from c2d.core.job_file import Job, read_job, write_job
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from sweeps.launchers.launch_request import LaunchRequest


def local_name(sweep: str) -> str:
    """Return the name of this process's launch, which is also the folder of its output."""
    return f"c2d-{sweep}-local-{os.getpid()}"


def write_local_jobs(request: LaunchRequest) -> None:
    """Write job.json of every task of a local request. Call it under the submission lock."""
    for task in request.tasks:
        earlier = read_job(task.run)
        write_job(
            task.run,
            Job(
                sweep=request.sweep,
                where="local",
                state="submitted",
                name=local_name(request.sweep),
                profile=request.profile.name,
                size=task.size,
                gpus=request.profile.all_gpus,
                threads=earlier.threads if earlier and earlier.where == "local" else 0,
                data=str(request.data),
                snapshot=task.snapshot or request.snapshot,
                depends=list(task.after),
                submissions=1 + (earlier.submissions if earlier else 0),
                submitted=datetime.now(UTC).isoformat(timespec="seconds"),
                host=socket.gethostname(),
                pid=os.getpid(),
            ),
        )


def add_local_details(request: LaunchRequest, threads: Mapping[str, int]) -> Path:
    """Create the folder of the processes' output, and write it and the threads into the job.json of every run.

    Args:
        threads: {task id: threads of its process}.

    Returns:
        The folder.
    """
    name = local_name(request.sweep)
    folder = RunStore(request.runs).submission(request.sweep, name)
    folder.mkdir(parents=True, exist_ok=True)
    for index, (run, task) in enumerate({task.run: task for task in request.tasks}.items()):
        job = read_job(run)
        if job is None or (job.where, job.pid, job.host) != ("local", os.getpid(), socket.gethostname()):
            job = Job(
                sweep=request.sweep, where="local", state="submitted", name=name, profile=request.profile.name,
                snapshot=task.snapshot or request.snapshot, submissions=1 + (job.submissions if job else 0),
                host=socket.gethostname(), pid=os.getpid(),
            )  # fmt: skip
        details = {"folder": str(folder), "task": index, "state": "submitted", "threads": threads[task.id]}
        write_job(run, job.model_copy(update=details))
    return folder


def threads_of_attempt(run: RunFolder) -> int:
    """Return the threads of a local run that has an attempt; 0 for all others."""
    job = read_job(run)
    return job.threads if job is not None and job.where == "local" and run.try_read_status().get("attempt") else 0


def change_by_other_shell(run: RunFolder, folder: Path) -> str:
    """Return what another shell did with a run since `add_local_details`: "cancelled", "launched by ...", or ""."""
    job = read_job(run)
    if job is None or job.state == "cancelled":
        return "cancelled"
    return "" if job.where == "local" and job.name == folder.name else "launched by another shell"
