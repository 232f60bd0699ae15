"""Hold, release, reorder and throttle the jobs of a sweep that wait in the queue. What runs is never changed.

Every function returns lines about what was changed, and whether SLURM refused a part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from c2d.core.run_folder import atomic_write_json
from sweeps.launchers.arrays import throttles
from sweeps.scheduler import array_file, change_jobs, queue
from sweeps.scheduler.change_jobs import WaitingJob
from sweeps.scheduler.slurm_output import join_jobs
from sweeps.state.plan import Row


@dataclass(frozen=True)
class Change:
    """The outcome of one change.

    Attributes:
        lines: what was changed, what was not, and why.
        refused: SLURM refused a part of it.
    """

    lines: list[str]
    refused: bool = False


def hold(rows: Iterable[Row]) -> Change:
    """Hold the waiting jobs of rows."""
    return _apply(rows, lambda job: not job.held, change_jobs.hold, "held")


def release(rows: Iterable[Row]) -> Change:
    """Release the held jobs of rows."""
    return _apply(rows, lambda job: job.held, change_jobs.release, "released")


def set_nice(rows: Iterable[Row], nice: int) -> Change:
    """Set the nice value of the waiting jobs of rows that are not held."""

    def change(jobs: Iterable[str]) -> dict[str, str]:
        return change_jobs.set_nice(jobs, nice)

    own = list(rows)
    waiting = _waiting(own)
    done = _apply(own, lambda job: not job.held and job.nice != nice, change, f"set to nice {nice}", waiting)
    held = [job.job for job in waiting.values() if job.held]
    if held:  # seen with 22.05: a new nice value gives a held job a priority, and it starts
        return replace(done, lines=[*done.lines, f"not changed: {_jobs(held)}: held; release it first"])
    return done


def set_cap(rows: Iterable[Row], cap: int) -> Change:
    """Change how many runs of the arrays of rows may run at once, all arrays together. Call it under the store's lock.

    Arrays that run one after the other share their slots. A plain job has no throttle: it takes one slot.

    Args:
        cap: runs at once, 1 or more.
    """
    folders = {Path(row.job.folder) for row in rows if row.job and row.job.job and row.job.where == "slurm"}
    found = {str(facts["job"]): (folder, facts) for folder in folders if (facts := array_file.read_array(folder))}
    left = queue.unfinished(found)
    if not left:
        return Change(["nothing to change: no job of these runs waits or runs"])
    waits = {number: str(found[number][1].get("dependency") or "") for number in left}
    lines, refused = [], False
    for number, share in throttles(left, waits, cap).items():
        folder, facts = found[number]
        if facts.get("tasks") == 1:
            continue
        if reason := change_jobs.set_throttle(number, share):
            lines.append(f"not changed: job {number}: SLURM says: {reason}")
            refused = True
            continue
        # Later submissions divide the cap by what earlier arrays take of it.
        atomic_write_json(folder / array_file.ARRAY, {**facts, "throttle": share, "cap": cap})
        lines.append(f"job {number}: {left[number]} runs, {share} at once (was {facts.get('throttle') or 1})")
    return Change(lines or ["nothing to change: these runs are plain jobs, which have no cap"], refused)


def _waiting(rows: Iterable[Row]) -> dict[str, WaitingJob]:
    launches = [job for row in rows for job in (row.canary, row.job) if job is not None and job.where == "slurm"]
    own = [job.job for job in launches if job.job is not None]
    return change_jobs.read_waiting(own) if own else {}


def _apply(
    rows: Iterable[Row],
    fits: Callable[[WaitingJob], bool],
    change: Callable[[Iterable[str]], Mapping[str, str]],
    done: str,
    waiting: Mapping[str, WaitingJob] | None = None,
) -> Change:
    every = _waiting(rows) if waiting is None else waiting
    chosen = [job.job for job in every.values() if fits(job)]
    if not chosen:
        return Change([f"nothing to change: none of the {len(every)} waiting jobs of these runs can be {done}"])
    refused = change(chosen)
    changed = [job for job in chosen if job not in refused]
    lines = [f"{done}: {_jobs(changed)}"] if changed else []
    by_reason: dict[str, list[str]] = {}
    for job, reason in refused.items():
        by_reason.setdefault(reason, []).append(job)
    lines += [f"not {done}: {_jobs(jobs)}: SLURM says: {reason}" for reason, jobs in by_reason.items()]
    return Change(lines, bool(refused))


def _jobs(jobs: list[str]) -> str:
    return f"{len(jobs)} job{'s' if len(jobs) > 1 else ''} ({join_jobs(jobs)})"
