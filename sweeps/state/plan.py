"""Promised runs against the store and the queue: new, waiting, running, done, failed or blocked, each with its reason.

Run folders say most of it, so a plan needs neither SLURM nor a living launcher. What the queue knows is added where it
is at hand. Nothing is written here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from c2d.core.job_file import Job, read_job
from c2d.core.run_folder import RunFolder
from sweeps.scheduler import queue
from sweeps.scheduler.queue import JobFacts
from sweeps.state.manifest import Labels, Promise, promises
from sweeps.state.run_facts import RunFacts
from sweeps.state.state_rules import State, decide


@dataclass(frozen=True)
class Row:
    """One run of a sweep and where it stands.

    cells: {axis: label, ..., "seed": "0"} of every cell this run answers; equal cells are one run.
    launch: `submit` would start it, or continue it.
    """

    run: RunFolder
    kind: Literal["teacher", "student", "orphan"]
    cells: tuple[Labels, ...]
    state: State
    reason: str
    launch: bool
    status: dict[str, Any]
    job: Job | None = None
    failure_class: str | None = None
    needs: tuple[str, ...] = ()


def look(
    promised: Iterable[Promise],
    runs: Path,
    facts: Mapping[str, JobFacts],
    *,
    queue_asked: bool,
    now: float | None = None,
) -> list[Row]:
    """A row for every promise, in their order.

    Args:
        promised: teachers before the students that need them.
        runs: the store.
        facts: what the queue knows, by job id.
        queue_asked: whether there is a queue that could know; without one, a submitted job is believed to wait.
        now: seconds since the epoch.
    """
    clock = time.time() if now is None else now
    here = {entry.name for entry in os.scandir(runs)} if runs.is_dir() else set()
    rows: dict[str, Row] = {}
    for promise in promised:
        run = RunFolder(runs / promise.run)
        if promise.run in here:
            job = read_job(run)
            fact = facts.get(job.job) if job is not None and job.job is not None else None
            known = RunFacts(run, run.try_read_status(), job, fact, queue_asked, clock)
            row = _row(promise, known)
        else:
            row = Row(run, promise.kind, promise.cells, "new", "not asked before", True, {"state": "waiting"})
        rows[promise.run] = _behind(row, promise, rows)
    return list(rows.values())


def survey(record: Mapping[str, Any], runs: Path) -> tuple[list[Row], dict[str, JobFacts]]:
    """(rows, what the queue knows) of a recorded sweep, now. A queue that does not answer is as good as none.

    Of the runs that are no longer asked for, those that still wait or run are listed.
    """
    promised = promises(record)
    facts: dict[str, JobFacts] = {}
    asked = False
    if (jobs := slurm_jobs(promised, runs)) and queue.available():
        with suppress(queue.Unreachable):
            facts, asked = queue.look_up(jobs), True
    rows = look(promised, runs, facts, queue_asked=asked)
    return [
        row for row in rows if row.kind != "orphan" or (row.state in ("waiting", "running") and not row.launch)
    ], facts


def slurm_jobs(promised: Iterable[Promise], runs: Path) -> list[str]:
    """Ids of the SLURM jobs that may still say something: those of runs that are not done."""
    found = []
    here = {entry.name for entry in os.scandir(runs)} if runs.is_dir() else set()
    for promise in promised:
        if promise.run in here:
            run = RunFolder(runs / promise.run)
            job = read_job(run)
            if job is not None and job.job is not None and run.try_read_status()["state"] != "done":
                found.append(job.job)
    return found


def _row(promise: Promise, facts: RunFacts) -> Row:
    decision = decide(facts)
    return Row(
        facts.run,
        promise.kind,
        promise.cells,
        decision.state,
        decision.reason,
        decision.launch,
        dict(facts.status),
        facts.job,
        decision.failure_class,
        promise.needs,
    )


def _behind(row: Row, promise: Promise, before: Mapping[str, Row]) -> Row:
    """A run whose teacher failed is blocked; it says by whom."""
    if row.state in ("done", "running"):
        return row
    for need in promise.needs:
        teacher = before.get(need)
        if teacher is not None and teacher.state in ("failed", "blocked"):
            reason = f"blocked by {need} ({teacher.failure_class or teacher.state})"
            return Row(row.run, row.kind, row.cells, "blocked", reason, False, row.status, row.job, None, promise.needs)
    return row if row.needs else Row(**{**vars(row), "needs": promise.needs})
