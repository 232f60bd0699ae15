"""What an array has to wait for: the jobs of its unfinished teachers, in one dependency flag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from c2d.core.errors import InputError, RunError
from c2d.core.job_file import read_job
from c2d.core.run_folder import RunFolder
from sweeps.launchers.arrays import Array
from sweeps.launchers.launch_request import LaunchRequest
from sweeps.launchers.recover_submission import recover_submission
from sweeps.scheduler import queue


def dependency(parents: Iterable[str], waits: Sequence[str]) -> str:
    """Value of the one --dependency flag: all parents well, all `waits` over; "" where there is nothing to wait for."""
    parts = [(kind, list(dict.fromkeys(jobs))) for kind, jobs in (("afterok", parents), ("afterany", waits))]
    return ",".join(f"{kind}:{':'.join(jobs)}" for kind, jobs in parts if jobs)


def parent_jobs(array: Array, request: LaunchRequest, jobs: Mapping[str, str]) -> dict[str, str]:
    """{task id: job} of the parents this array has to wait for; one that is done is none.

    Args:
        jobs: {task id: job} of this order, submitted a moment ago.

    Raises:
        InputError: a parent is neither done nor in SLURM's hands.
        RunError: its job is over, and it is not done.
        queue.Unreachable: the controller does not answer.
    """
    here = {parent: jobs[parent] for parent in array.depends if parent in jobs}
    before = {}
    for parent in array.depends:
        run = run_folder_of(parent, request)
        if parent in jobs or run.read_status()["state"] == "done":
            continue
        job = read_job(run)
        job = recover_submission(job) if job is not None else None
        if job is None or job.job is None or job.where != "slurm" or job.state != "submitted":
            where = f"launched {job.where} on {job.host} ({job.state})" if job else "not launched"
            raise InputError(
                f"{array.tasks[0].run.id} waits for {run.id}, which is not done and has no SLURM job ({where}); "
                "wait until it is done, or launch it first"
            )
        before[parent] = job.job
    # SLURM takes a dependency on a job it has forgotten as fulfilled (seen with 22.05), however that job ended.
    return here | unfinished_parents(before, request)


def unfinished_parents(parents: Mapping[str, str], request: LaunchRequest) -> dict[str, str]:
    """Those parents whose jobs still wait or run; one that has ended well is nothing to wait for.

    Raises:
        RunError: a parent's job is over, and its run is not done.
        queue.Unreachable: the controller does not answer.
    """
    left = {}
    facts = queue.look_up(parents.values()) if parents else {}
    for parent, job in parents.items():
        if run_folder_of(parent, request).read_status()["state"] == "done":
            continue
        state = facts[job].state if job in facts else ""
        if state and state not in queue.FINISHED:
            left[parent] = job
        elif state != "COMPLETED":
            raise RunError(
                f"{parent} is not done and its job {job} is over ({state or 'SLURM does not know it any more'}); see "
                f"`c2d sweep triage {request.sweep}`, then retry it: that releases what waits for it"
            )
    return left


def unfinished_arrays(arrays: Sequence[str]) -> list[str]:
    """Those arrays (numbers) that have tasks left."""
    going = queue.unfinished(arrays) if arrays else {}
    return [array for array in arrays if going.get(array)]


def run_folder_of(parent: str, request: LaunchRequest) -> RunFolder:
    """The run folder of a task id; a canary's is its run's."""
    return RunFolder(request.runs / parent.split("#")[0])
