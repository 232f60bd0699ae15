"""Turn rows of a plan into tasks of a launch or a retry, with their dependencies and the canary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from c2d.core.job_file import read_attempts
from c2d.core.run_folder import RunFolder
from sweeps.actions.row_filters import filter_rows
from sweeps.actions.select_retries import canary_runs
from sweeps.definition.definition import Definition
from sweeps.definition.profile import Profile
from sweeps.failures.retry_policy import NODE_FAILURES
from sweeps.launchers.launch_request import PrintLine, Task
from sweeps.state.failed_attempts import failed_attempts
from sweeps.state.plan import Row, with_needs

NODE_FAULTS = ("node-failure", "killed", "hang")
"""Failure classes that count against a node. A preemption or a time limit is no fault of the node."""
MORE_MEMORY, MORE_HOURS = 1.5, 2.0
"""Factors by which a retry raises what the last attempt ran out of."""


def rows_to_launch(rows: list[Row], filters: Sequence[str], limit: int | None) -> list[Row]:
    """Return the rows to launch, with the unfinished teachers they need at any depth, in the order of the plan.

    Args:
        filters: `axis=label` texts.
        limit: most runs of cells; their teachers are returned in addition.
    """
    cells = [row for row in filter_rows(rows, filters) if row.launch and row.cells][:limit]
    wanted = {row.run.id for row in cells}
    # A student in the queue needs its teacher as well, whose run folder may have been deleted.
    wanted |= {row.run.id for row in filter_rows(rows, filters) if row.state == "waiting" and not row.launch}
    wanted = with_needs(wanted, rows)
    if not filters and limit is None:  # also a teacher whose students are all done or launched elsewhere
        wanted |= {row.run.id for row in rows if row.kind == "teacher"}
    return [row for row in rows if row.launch and row.run.id in wanted]


def tasks_of(chosen: list[Row], definition: Definition, canary: int | None, profile: Profile) -> list[Task]:
    """Return the tasks of the chosen rows; with a canary, every student waits for it.

    Args:
        canary: iterations of the canary; None: no canary.
        profile: the machine.
    """
    unfinished = _unfinished_teachers(chosen)
    tasks = [_task(row, unfinished(row), definition, profile) for row in chosen]
    students = [row for row in chosen if row.kind == "student"]
    if canary is None or not students:
        return tasks
    # The run with the most methods, not a baseline: it exercises most of the code.
    row = max(students, key=lambda row: (row.run.id.count("+"), bool(row.needs)))
    first = Task(row.run, unfinished(row), definition.size, stop_after=canary, method=_method(row), cell=_cell(row))
    teachers = [task for task, row in zip(tasks, chosen, strict=True) if row.kind == "teacher"]
    rest = [
        replace(task, after=(*task.after, first.id))
        for task, row in zip(tasks, chosen, strict=True)
        if row.kind == "student"
    ]
    return [*teachers, first, *rest]


def _task(row: Row, after: tuple[str, ...], definition: Definition, profile: Profile) -> Task:
    """Return the task of a row; a run that has started keeps its code.

    It also keeps the memory and hours that a retry has raised for it, unless this profile is another one or has more.
    """
    job = row.job
    if job is None:
        return Task(row.run, after, definition.size, method=_method(row), cell=_cell(row))

    def raised(had: float | None, own: float | None) -> float | None:
        return had if job.profile == profile.name and (had or 0.0) > (own or 0.0) else None

    return Task(
        row.run,
        after,
        definition.size,
        mem_gb=raised(job.mem_gb, profile.mem_gb),
        hours=raised(job.hours, getattr(profile.hours, definition.size)),
        exclude=tuple(job.exclude),
        snapshot=job.snapshot if row.status.get("attempt") else "",
        method=_method(row),
        cell=_cell(row),
    )


def _method(row: Row) -> str:
    return row.cells[0].get("method", "") if row.cells else ""


def _cell(row: Row) -> str:
    return ", ".join(f"{axis}={label}" for axis, label in row.cells[0].items()) if row.cells else row.label


def _unfinished_teachers(chosen: list[Row]) -> Callable[[Row], tuple[str, ...]]:
    """Return a function of a row: the teachers it waits for, launched with it or by an earlier launch."""
    launched = {row.run.id for row in chosen}

    def unfinished(row: Row) -> tuple[str, ...]:
        return tuple(
            need
            for need in row.needs
            if need in launched or RunFolder(row.run.path.parent / need).try_read_status()["state"] != "done"
        )

    return unfinished


def retry_task(
    row: Row, rows: Iterable[Row], profile: Profile, print_line: PrintLine, *, is_given: bool = False
) -> Task:
    """Return the task of a row's next launch, with more of the resource it ran out of.

    Args:
        rows: of the whole sweep, to find nodes that fail often and teachers that are not done.
        profile: the machine.
        print_line: called with a line about each change.
        is_given: the profile was named for this launch: its memory and hours hold, not those of the last launch.
    """
    every, run, job = list(rows), row.run.id, row.job
    mem_gb, hours = (job.mem_gb, job.hours) if job and not is_given else (None, None)
    size = job.size if job else "small"
    if row.failure_class == "host-oom" and profile.mem_gb is None:
        print_line(f"{run}: out of memory; raise it in profile {profile.name}: it has no mem_gb, which a retry raises")
    elif row.failure_class == "host-oom":
        old = mem_gb or profile.mem_gb or 0.0
        mem_gb = min(old * MORE_MEMORY, max(profile.max_mem_gb, old))
        at_most = f"; {old:g} GB is the maximum of profile {profile.name} (max_mem_gb)"
        print_line(f"{run}: out of memory" + (f", {old:g} -> {mem_gb:g} GB" if mem_gb > old else at_most))
    if row.failure_class == "time-limit" and not _has_progressed(failed_attempts(row)):
        old = profile.limit_min(size, hours) / 60
        hours = min(old * MORE_HOURS, max(profile.max_hours, old))
        at_most = f"; {old:g} h is the maximum of profile {profile.name} (max_hours)"
        print_line(f"{run}: no progress within its limit" + (f", {old:g} -> {hours:g} h" if hours > old else at_most))
    excluded = nodes_to_exclude(every)
    if excluded:
        print_line(
            f"{run}: not on {', '.join(excluded)}, where runs of this sweep failed {NODE_FAILURES} times or more"
        )
    states = {other.run.id: other.state for other in every}
    folder = row.run.path.parent

    def is_unfinished(need: str) -> bool:
        return (states.get(need) or RunFolder(folder / need).try_read_status()["state"]) != "done"

    return Task(
        row.run,
        # A run can be the canary of its sweep, and must not wait for itself.
        after=tuple(need for need in (*row.needs, *canary_runs(row)) if need != run and is_unfinished(need)),
        size=size,
        mem_gb=mem_gb,
        hours=hours,
        exclude=tuple(sorted({*(job.exclude if job else ()), *excluded})),
        method=_method(row),
        cell=_cell(row),
    )


def nodes_to_exclude(rows: Iterable[Row]) -> list[str]:
    """Return SLURM's nodes with NODE_FAILURES or more NODE_FAULTS in this sweep; hosts of local runs do not count."""
    counts = Counter(
        str(attempt["node"])
        for row in rows
        for attempt in read_attempts(row.run)
        if attempt.get("class") in NODE_FAULTS and attempt.get("node") and attempt.get("job")
    )
    return sorted(node for node, count in counts.items() if count >= NODE_FAILURES)


def _has_progressed(attempts: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the newest attempt reached a later iteration than all before it."""
    iterations = [int(attempt.get("iteration") or 0) for attempt in attempts]
    return bool(iterations) and iterations[-1] > max(iterations[:-1], default=0)
