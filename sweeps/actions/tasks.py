"""Rows of a plan -> tasks of an order: what is to be launched, what each run waits for, and the canary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from c2d.core.run_folder import RunFolder
from sweeps.actions import select_retries
from sweeps.definition.definition import Definition
from sweeps.launchers.launch_request import Task
from sweeps.launchers.snapshot import snapshot_folder
from sweeps.state.plan import Row


def to_launch(rows: list[Row], filters: Sequence[str], limit: int | None) -> list[Row]:
    """Rows to launch, with the unfinished teachers they need, in the order of the plan."""
    cells = [row for row in select_retries.filtered(rows, filters) if row.launch and row.cells][:limit]
    wanted = {row.run.id for row in cells} | {need for row in cells for need in row.needs}
    if not filters and limit is None:  # a teacher of its own accord: all its students may be done or elsewhere
        wanted |= {row.run.id for row in rows if row.kind == "teacher"}
    return [row for row in rows if row.launch and row.run.id in wanted]


def tasks_of(chosen: list[Row], definition: Definition, canary: int | None) -> list[Task]:
    """Tasks of the chosen rows; with a canary, everything but its teachers waits for it."""
    unfinished = _unfinished(chosen)
    tasks = [_task(row, unfinished(row), definition) for row in chosen]
    students = [row for row in chosen if row.kind == "student"]
    if canary is None or not students:
        return tasks
    bird = max(students, key=lambda row: (row.run.id.count("+"), bool(row.needs)))  # the fullest method, not a baseline
    first = Task(bird.run, unfinished(bird), definition.size, stop_after=canary)
    teachers = [task for task, row in zip(tasks, chosen, strict=True) if row.kind == "teacher"]
    rest = [
        replace(task, after=(*task.after, first.id))
        for task, row in zip(tasks, chosen, strict=True)
        if row.kind == "student"
    ]
    return [*teachers, first, *rest]


def _task(row: Row, after: tuple[str, ...], definition: Definition) -> Task:
    """The task of a row; a run that has begun keeps its code, and what a retry has raised for it."""
    job = row.job
    if job is None:
        return Task(row.run, after, definition.size)
    begun = row.status.get("attempt") and snapshot_folder(row.run.path.parent, job.snapshot).is_dir()
    return Task(
        row.run,
        after,
        definition.size,
        mem_gb=job.mem_gb,
        hours=job.hours,
        exclude=tuple(job.exclude),
        snapshot=job.snapshot if begun else "",
    )


def _unfinished(chosen: list[Row]) -> Any:
    """Row -> teachers it has to wait for: those launched with it, and those of an earlier launch that are not done."""
    launched = {row.run.id for row in chosen}

    def waits(row: Row) -> tuple[str, ...]:
        return tuple(
            need
            for need in row.needs
            if need in launched or RunFolder(row.run.path.parent / need).read_status()["state"] != "done"
        )

    return waits
