"""Submit a launch request to SLURM as job arrays, and return at once: the jobs do not need this process.

Every run's job.json has the state `submitting` and the array's unique name before sbatch is called. If the launcher
dies at any moment, `sweeps.launchers.recover_submission` can find the job again. Nothing here cancels a job.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from c2d.core.disk import DiskError
from c2d.core.errors import InputError, RunError
from c2d.core.job_file import Job, read_job, write_job
from c2d.core.run_folder import atomic_write_text
from c2d.core.store_folder import RunStore
from sweeps.definition.profile import has_secret
from sweeps.launchers import submission
from sweeps.launchers.arrays import JobArray, job_arrays
from sweeps.launchers.dependencies import dependency_flag, parent_jobs, unfinished_arrays, unfinished_parents
from sweeps.launchers.job_names import array_name, name_lines
from sweeps.launchers.launch_request import LaunchRequest, PrintLine, Task
from sweeps.launchers.recover_submission import submitted_job
from sweeps.launchers.script import batch_script, check_store_path
from sweeps.node import verify_snapshot
from sweeps.scheduler import array_file, queue, slurm_command
from sweeps.scheduler.sbatch import NotSubmitted, sbatch

NO_LIMIT = 10**6
"""Timeouts after which submitit would stop a job; sweeps/failures/retry_policy.py decides instead."""
LIMIT_REACHED = "SLURM accepts no more of your jobs now"
"""Begin of the line that says so."""
WRITERS = 8  # threads; writing small files to a network file system is mostly waiting


def launch(request: LaunchRequest, print_line: PrintLine) -> int:
    """Submit every task; return 0, or 1 where a limit of the cluster left some for a later call.

    Raises:
        InputError: nothing can be submitted from here, or SLURM refused the first array.
        RunError: SLURM refused a later one, or does not answer. What was submitted stays submitted.
    """
    _check_host(request, print_line)
    planned = job_arrays(
        request.tasks,
        request.sweep,
        request.profile.array_cap,
        queue.max_array_size(),
        submission.active_arrays(request.runs, request.sweep),
    )
    jobs: dict[str, str] = {}  # task id -> "123_4"
    numbers: dict[str, str] = {}  # array name -> "123"
    for array in planned:
        try:
            sent = _submit(array, request, jobs, numbers, print_line)
        except NotSubmitted as error:
            if error.cause != "limit":
                raise _refusal(error, request, len(jobs)) from error
            print_line(f"{LIMIT_REACHED} ({error.text})")
            sent = _submit_part(array, request, jobs, numbers, print_line)
        if sent < len(array.tasks):
            print_line(
                f"submitted: {len(jobs)} of {len(request.tasks)} runs; the same command continues with the rest later"
            )
            return 1
    print_line(f"submitted: {len(jobs)} runs in {len(numbers)} jobs; `c2d sweep status {request.sweep}` shows them")
    return 0


def submit_array(
    callables: Sequence[Callable[[], Any]],
    array: JobArray,
    request: LaunchRequest,
    dependency: str,
    print_line: PrintLine,
    launch: Job | None = None,
) -> str:
    """Write one submission's files, call sbatch, and return the job's number. Changes no run folder.

    Args:
        callables: picklable, one a task, called on its node; in the order of `array.tasks`.
        dependency: value of the --dependency flag, or "".
        print_line: called with one line of progress.
        launch: job.json of the first run, for array.json.

    Raises:
        NotSubmitted, slurm_command.Unreachable: see `sweeps.scheduler.sbatch`.
    """
    from submitit.core.utils import DelayedSubmission

    folder = RunStore(request.runs).submission(request.sweep, array.name)
    folder.mkdir(parents=True, exist_ok=True)
    first = array.tasks[0]

    def dump(numbered: tuple[int, Callable[[], Any]]) -> None:
        task, function = numbered
        delayed = DelayedSubmission(function)
        delayed.set_timeout(request.profile.limit_min(first.size, first.hours), NO_LIMIT)
        delayed.dump(folder / submission.pickle_name(task))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(dump, enumerate(callables)))
    atomic_write_text(folder / submission.NAMES, name_lines(array.tasks, request.sweep))
    shutil.copyfile(verify_snapshot.__file__, folder / submission.VERIFY)
    script = batch_script(array, request, dependency)
    atomic_write_text(folder / submission.SCRIPT, script, private=has_secret(request.profile))
    number = sbatch(folder / submission.SCRIPT, array.name, print_line)
    with suppress(DiskError):  # the job is in the queue, and is found by its name as well
        array_file.write_array(
            folder, name=array.name, job=number, tasks=len(array.tasks), throttle=array.throttle,
            cap=request.profile.array_cap, dependency=dependency, submitted=_now(), **_launch_facts(array, launch),
        )  # fmt: skip
    return number


def _launch_facts(array: JobArray, launch: Job | None) -> dict[str, Any]:
    is_whole = launch is not None and not array.tasks[0].is_canary
    return {"runs": [task.run.id for task in array.tasks], "launch": launch.model_dump()} if launch and is_whole else {}


def training_job(task: Task, request: LaunchRequest) -> Callable[[], Any]:
    """Return the callable that trains a task on its node. Importing it needs no torch."""
    from sweeps.node.job import TrainingJob

    profile = request.profile
    return TrainingJob(
        run=str(task.run.path),
        data=str(request.data),
        workers=profile.workers,
        threads=profile.cpus,
        download=profile.download,
        stage_data=profile.stage_data,
        tmp=profile.tmp,
        track=tuple(profile.track),
        stop_after=task.stop_after,
    )


def _submit(
    array: JobArray, request: LaunchRequest, jobs: dict[str, str], numbers: dict[str, str], print_line: PrintLine
) -> int:
    """Submit one array, write job.json of its runs, and add its jobs to `jobs` and `numbers`; return its size."""
    folder = RunStore(request.runs).submission(request.sweep, array.name)
    parents = parent_jobs(array, request, jobs)
    waits = [numbers.get(name, name) for name in array.afterany]
    callables = [training_job(task, request) for task in array.tasks]
    earlier_jobs = [read_job(task.run, canary=task.is_canary) for task in array.tasks]
    drafts = [
        _draft(task, number, array, request, folder, earlier)
        for number, (task, earlier) in enumerate(zip(array.tasks, earlier_jobs, strict=True))
    ]
    try:
        submission.write_folders(folder, [task.run for task in array.tasks])
        _write_all(array, drafts)
        try:
            number = submit_array(
                callables, array, request, dependency_flag(parents.values(), waits), print_line, drafts[0]
            )
        except NotSubmitted as error:
            if error.cause != "dependency":
                raise
            parents = unfinished_parents(parents, request)  # one of them ended meanwhile
            waits = unfinished_arrays(waits)
            number = submit_array(
                callables, array, request, dependency_flag(parents.values(), waits), print_line, drafts[0]
            )
    except slurm_command.Unreachable:
        raise  # it may be in the queue, and can be recovered: job.json keeps the state `submitting`
    except Exception:
        # Nothing was submitted: the runs get back the job.json that they had, for which a full disk needs the space.
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(DiskError):
            _write_all(array, earlier_jobs)
        raise
    count = len(array.tasks)
    try:
        _write_all(array, [submitted_job(draft, number, count) for draft in drafts])
    except DiskError as error:
        raise DiskError(
            f"job {number} ({count} runs) is in the queue, and its number could not be recorded: {error}; that command "
            f"finds the job by its name, {array.name}",
            error.is_full,
        ) from error
    numbers[array.name] = number
    for place, task in enumerate(array.tasks):
        jobs[task.id] = submission.job_id(number, place, count)
    after = f", after {', '.join([*parents.values(), *waits])}" if parents or waits else ""
    many = f"{count} runs, {min(array.throttle, count)} at once" if count > 1 else "1 run"
    print_line(f"job {number}: {many} ({array.name}{after})")
    return count


def _submit_part(
    array: JobArray, request: LaunchRequest, jobs: dict[str, str], numbers: dict[str, str], print_line: PrintLine
) -> int:
    """Submit half of an array, a quarter, ... until SLURM accepts one, as its limit counts tasks; return the size."""
    count = len(array.tasks) // 2
    while count:
        try:
            part = array.tasks[:count]
            name = array_name(part, request.sweep, array.name.rpartition("-")[2])
            return _submit(replace(array, tasks=part, name=name), request, jobs, numbers, print_line)
        except NotSubmitted as error:
            if error.cause != "limit":
                raise _refusal(error, request, len(jobs)) from error
        count //= 2
    return 0


def _draft(task: Task, number: int, array: JobArray, request: LaunchRequest, folder: Path, before: Job | None) -> Job:
    return Job(
        sweep=request.sweep,
        where="slurm",
        state="submitting",
        name=array.name,
        folder=str(folder),
        task=number,
        profile=request.profile.name,
        size=task.size,
        gpus=request.profile.all_gpus,
        mem_gb=task.mem_gb,
        hours=task.hours,
        exclude=list(task.exclude),
        data=str(request.data),
        snapshot=task.snapshot or request.snapshot,
        depends=list(array.afterok),
        submissions=1 + (before.submissions if before else 0),
        submitted=_now(),
        host=socket.gethostname(),
        pid=os.getpid(),
    )


def _write_all(array: JobArray, jobs: Sequence[Job | None]) -> None:
    def write(pair: tuple[Task, Job | None]) -> None:
        task, job = pair
        if job is None:
            (task.run.canary if task.is_canary else task.run.job).unlink(missing_ok=True)
        else:
            write_job(task.run, job, canary=task.is_canary)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, zip(array.tasks, jobs, strict=True)))


def _refusal(error: NotSubmitted, request: LaunchRequest, submitted: int) -> Exception:
    """Return InputError where nothing was submitted, RunError where some arrays are in the queue.

    Args:
        submitted: number of runs of this request in the queue.
    """
    hint = {
        "busy": "the controller is busy; repeat the command later",
        "array": "this cluster's MaxArraySize is smaller than `scontrol show config` reports; contact its support",
        "dependency": "a job it waits for has ended; check `c2d sweep status`",
    }.get(error.cause, "fix the profile (docs/sweeps.md); `--where dry` shows the script")
    kept = (
        f"Kept in {request.runs}: sweeps/{request.sweep}.json, {len(request.tasks)} run folders, "
        f"snapshots/{request.snapshot}; then the same command continues"
    )
    if error.cause == "busy" or submitted:
        return RunError(f"{error}; {hint}. Runs that stay submitted: {submitted}. {kept}", "config")
    return InputError(f"{error}; {hint}. Nothing was submitted. {kept}")


def _check_host(request: LaunchRequest, print_line: PrintLine) -> None:
    if not slurm_command.available():
        raise InputError(
            "missing: sbatch and squeue; fix: run this on the cluster's login node, or use --where local or dry"
        )
    check_store_path(request.runs)
    local = [Path(name).resolve() for name in ("/tmp", "/var/tmp", "/dev/shm", "/run", tempfile.gettempdir())]
    node_local = [
        place for place in (request.runs, request.data) if any(place.resolve().is_relative_to(one) for one in local)
    ]
    if node_local:
        names = " and ".join(dict.fromkeys(map(str, node_local)))
        print_line(f"warning: {names} may be on a disk of this machine only; jobs on other nodes would not find it")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
