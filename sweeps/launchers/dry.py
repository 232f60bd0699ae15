"""Print what `slurm` would submit: arrays, runs, dependencies, scripts, hours. Needs no SLURM and writes nothing.

Jobs have no numbers yet: the job of array 1 is called JOB1, and its first task JOB1_0.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import statistics
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.job_file import read_job
from c2d.core.json_values import SMALL_BYTES
from c2d.core.masking import mask_text
from c2d.core.run_folder import RunFolder, read_json
from c2d.core.store_folder import RunStore
from sweeps.definition.profile import Profile
from sweeps.launchers import submission
from sweeps.launchers.arrays import JobArray, job_arrays
from sweeps.launchers.dependencies import dependency_flag, run_folder_of
from sweeps.launchers.launch_request import LaunchRequest, PrintLine, Task
from sweeps.launchers.script import batch_script
from sweeps.scheduler import queue, slurm_command

NOTE_MASKED = "(*** stands for a value that looks like a secret; the submitted script has the value)"
MAX_CHANGES = 12
"""A script that differs from the previous one in more lines is printed in full."""


def launch(request: LaunchRequest, print_line: PrintLine) -> int:
    """Print everything and return 0.

    Raises:
        InputError: the profile cannot be written as a script.
    """
    # A dry run copies no code: a placeholder takes the place of the digest.
    request = replace(request, snapshot=request.snapshot or "SNAPSHOT")
    planned = plan(request)
    jobs: dict[str, str] = {}
    scripts: list[str] = []
    for number, array in enumerate(planned, 1):
        for place, task in enumerate(array.tasks):
            jobs[task.id] = submission.job_id(f"JOB{number}", place, len(array.tasks))
    names = {array.name: f"JOB{number}" for number, array in enumerate(planned, 1)}
    count = len(request.tasks)
    print_line(
        f"dry run, nothing is written or submitted: {_count(count, 'run')} of {request.sweep} in "
        f"{_count(len(planned), 'job array')}, at most {request.profile.array_cap} at once "
        f"(profile {request.profile.name or 'without a name'})"
    )
    if request.profile.track:
        print_line(f"tracked by {', '.join(request.profile.track)}")
    for number, array in enumerate(planned, 1):
        flag = dependency_flag(
            (job for job in (_job_of(parent, request, jobs) for parent in array.afterok) if job),
            [names.get(name, name) for name in array.afterany],
        )
        _print_array(number, array, request.profile, flag, jobs, print_line)
        scripts.append(_without_secrets(batch_script(array, request, flag)))
    folders = [str(RunStore(request.runs).submission(request.sweep, array.name)) for array in planned]
    for number, (text, folder) in enumerate(zip(scripts, folders, strict=True), 1):
        earlier = scripts[number - 2].replace(folders[number - 2], folder) if number > 1 else ""
        _print_script(number, text, earlier, print_line)
    for line in cost_lines(request):
        print_line(line)
    return 0


def plan(request: LaunchRequest) -> list[JobArray]:
    """Return the arrays of a request as `slurm` would make them, with names counted from 1.

    Arrays of the sweep that are already in the queue take their part of the cap.
    """
    try:
        active = submission.active_arrays(request.runs, request.sweep)
    except slurm_command.Unreachable:
        active = []
    numbers = itertools.count(1)
    return job_arrays(
        request.tasks,
        request.sweep,
        request.profile.array_cap,
        queue.max_array_size(),
        active,
        lambda: str(next(numbers)),
    )


def cost_lines(request: LaunchRequest) -> list[str]:
    """Return lines with the most GPU or core hours the request can take, and an estimate from similar finished runs."""
    profile, tasks = request.profile, request.tasks
    unit, each = _unit(profile)
    limits = [profile.limit_min(task.size, task.hours) / 60 for task in tasks]
    lines = [f"at most {sum(limits) * each:.1f} {unit} in one job each (limits of the profile)"]
    seconds = _measured_s(request.runs)
    specs = [request.specs.get(task.run.id) or _spec(task) for task in tasks]
    keys = [cost_key(spec) if spec else student_and_methods(task.run) for task, spec in zip(tasks, specs, strict=True)]
    found = [seconds[key] / 3600 if key in seconds else None for key in keys]
    if all(value is None for value in found):
        return [*lines, "no similar finished run in this store, so no better estimate"]
    by_name = sum(spec is None and value is not None for spec, value in zip(specs, found, strict=True))
    by_limit = sum(value is None for value in found)
    notes = [
        *([f"{_count(by_name, 'run')} by name only: the schedule may differ"] if by_name else []),
        *([f"{_count(by_limit, 'run')} without a similar one, at the limit"] if by_limit else []),
    ]
    total = sum(limit if value is None else value for value, limit in zip(found, limits, strict=True)) * each
    return [*lines, f"by similar finished runs {total:.1f} {unit}" + (f" ({'; '.join(notes)})" if notes else "")]


def student_and_methods(run: RunFolder) -> str:
    """Return the student and methods: a run id without hash and seed."""
    return run.id.rsplit("-", 2)[0]


def cost_key(spec: dict[str, Any]) -> str:
    """Return a key that is equal for runs of about the same duration: data, model, methods (not weights), schedule."""
    schedule, student = spec.get("schedule") or {}, spec.get("student") or {}
    values = schedule.get("values") or {}
    stages = [values.get(stage) or {} for stage in ("draft", "final")]  # of a synthesis
    same = [
        spec.get("kind"),
        (spec.get("dataset") or {}).get("name"),
        student.get("name"),
        spec.get("network"),
        spec.get("input"),
        sorted(name for part in spec.get("method") or [] for name in part),
        schedule.get("name"),
        values.get("iterations"),
        *(value for stage in stages for value in (stage.get("iterations"), stage.get("size"))),
        values.get("images"),
        values.get("images_from"),
    ]
    return json.dumps(same)


def _measured_s(runs: Path) -> dict[str, float]:
    """Return {cost key, or student and methods: median seconds} over the finished runs of the store."""
    found: dict[str, list[float]] = {}
    for folder in sorted(runs.iterdir()) if runs.is_dir() else []:
        run = RunFolder(folder)
        status = run.try_read_status()
        if status["state"] != "done" or not status.get("elapsed_s"):
            continue
        try:
            for key in (cost_key(read_json(run.spec, SMALL_BYTES)), student_and_methods(run)):
                found.setdefault(key, []).append(status["elapsed_s"])
        except (InputError, AttributeError, KeyError, TypeError, ValueError):
            continue  # of another version, or damaged
    return {key: statistics.median(values) for key, values in found.items()}


def _spec(task: Task) -> dict[str, Any] | None:
    try:
        value = read_json(task.run.spec)
    except InputError:
        return None
    return value if isinstance(value, dict) else None


def _unit(profile: Profile) -> tuple[str, float]:
    """Return (unit, units of one run)."""
    if profile.all_gpus:
        return "GPU hours", profile.all_gpus
    return "core hours (the profile has no GPU)", profile.world * profile.cpus


def _job_of(parent: str, request: LaunchRequest, jobs: dict[str, str]) -> str | None:
    """Return the job that a parent has, or will have; None where it is done."""
    if parent in jobs:
        return jobs[parent]
    run = run_folder_of(parent, request)
    if run.try_read_status()["state"] == "done":
        return None
    job = read_job(run)
    return job.job if job and job.job else f"JOB-OF-{run.id}"


def _print_array(
    number: int, array: JobArray, profile: Profile, flag: str, jobs: dict[str, str], print_line: PrintLine
) -> None:
    first, count = array.tasks[0], len(array.tasks)
    facts = [
        _count(count, "run"),
        f"{min(array.throttle, count)} at once",
        f"{profile.limit_min(first.size, first.hours) / 60:g} h",
        profile.memory_text(first.mem_gb),
        _count(profile.all_gpus, "GPU") + " each",
        *([f"not on {', '.join(first.exclude)}"] if first.exclude else []),
        *([f"canary: {first.stop_after} iterations"] if first.stop_after is not None else []),
        *([f"starts {flag}"] if flag else []),
    ]
    print_line("")
    print_line(f"JOB{number}  {', '.join(facts)}")
    for task in array.tasks:
        print_line(f"  {jobs[task.id]:10} {task.run.id}")


def _print_script(number: int, text: str, earlier: str, print_line: PrintLine) -> None:
    """Print a script in full, or its differences from the previous one; another folder is no difference."""
    changes = [] if not earlier else list(_changes(earlier.split("\n"), text.split("\n")))
    print_line("")
    if not earlier or len(changes) > MAX_CHANGES:
        print_line(f"script of JOB{number}:")
        for line in text.rstrip("\n").split("\n"):
            print_line(f"    {line}".rstrip())
        return
    print_line(f"script of JOB{number}: that of JOB{number - 1} with its own folder, and")
    for line in changes:
        print_line(f"    {line}")


def _without_secrets(script: str) -> str:
    """Return a script as it is shown: a secret of the profile is ***, and the first line says so."""
    lines = [mask_text(line, {}) for line in script.split("\n")]
    shown = "\n".join(lines)
    return shown if shown == script else f"{NOTE_MASKED}\n{shown}"


def _changes(old: list[str], new: list[str]) -> Iterable[str]:
    for line in difflib.ndiff(old, new):
        if re.match(r"[-+] ", line):
            yield line


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
