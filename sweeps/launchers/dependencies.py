"""The --dependency flag of an array: the jobs of its unfinished teachers, and arrays that must end first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from c2d.core.errors import Busy, InputError, RunError
from c2d.core.job_file import CANARY, is_launcher_alive, read_job
from c2d.core.run_folder import RunFolder
from sweeps.launchers.arrays import JobArray
from sweeps.launchers.launch_request import LaunchRequest
from sweeps.launchers.recover_submission import recover_submission, unknown_for_s
from sweeps.scheduler import queue


def dependency_flag(afterok: Iterable[str], afterany: Sequence[str]) -> str:
    """Return the value of the --dependency flag; "" without jobs to wait for.

    Args:
        afterok: jobs that have to succeed.
        afterany: jobs that have to end, in any state.
    """
    parts = [(kind, list(dict.fromkeys(jobs))) for kind, jobs in (("afterok", afterok), ("afterany", afterany))]
    return ",".join(f"{kind}:{':'.join(jobs)}" for kind, jobs in parts if jobs)


def parent_jobs(array: JobArray, request: LaunchRequest, jobs: Mapping[str, str]) -> dict[str, str]:
    """Return {task id: job} of the parents this array has to wait for, without those that are done.

    Args:
        jobs: {task id: job} of this request, as far as it is submitted.

    Raises:
        InputError: a parent is neither done nor submitted to SLURM.
        Busy: it is not known yet whether SLURM has taken a parent.
        RunError: a parent's job has ended, and its run is not done.
        slurm_command.Unreachable: the controller does not answer.
    """
    submitted = {parent: jobs[parent] for parent in array.afterok if parent in jobs}
    earlier = {}
    for parent in array.afterok:
        run = run_folder_of(parent, request)
        if parent in jobs or run.read_status()["state"] == "done":
            continue
        canary = parent.endswith(CANARY)
        job = read_job(run, canary=canary)
        job = recover_submission(job, canary=canary) if job is not None else None
        if job is not None and job.where == "slurm" and job.state == "submitting" and not is_launcher_alive(job):
            raise Busy(
                f"{array.tasks[0].run.id} waits for {run.id}, whose submission ended before SLURM gave a number; call "
                f"the same command again in {unknown_for_s(job) + 1:.0f} s, when it is known whether SLURM took it"
            )
        if job is None or job.job is None or job.where != "slurm" or job.state != "submitted":
            where = f"launched {job.where} on {job.host} ({job.state})" if job else "not launched"
            raise InputError(
                f"{array.tasks[0].run.id} waits for {run.id}, which is not done and has no SLURM job ({where}); "
                "wait until it is done, or launch it first"
            )
        earlier[parent] = job.job
    # A dependency on a job that SLURM no longer knows counts as fulfilled, whatever its state was (seen with 22.05).
    return submitted | unfinished_parents(earlier, request)


def unfinished_parents(parents: Mapping[str, str], request: LaunchRequest) -> dict[str, str]:
    """Return the parents whose jobs wait or run, without those that have succeeded.

    Args:
        parents: {task id: job}.

    Raises:
        RunError: a parent's job has ended, and its run is not done.
        slurm_command.Unreachable: the controller does not answer.
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
                f"{parent} is not done and its job {job} has ended ({state or 'unknown to SLURM'}); see "
                f"`c2d sweep triage {request.sweep}`, then retry it: that releases the runs that wait for it"
            )
    return left


def unfinished_arrays(numbers: Sequence[str]) -> list[str]:
    """Return the numbers of the arrays that have waiting or running tasks."""
    counts = queue.unfinished(numbers) if numbers else {}
    return [number for number in numbers if counts.get(number)]


def run_folder_of(parent: str, request: LaunchRequest) -> RunFolder:
    """Return the run folder of a task id; a canary has that of its run."""
    return RunFolder(request.runs / parent.removesuffix(CANARY))
