"""Rows of a sweep as numbers and as a table: where everything stands, what it has cost, and when it will be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from c2d.core.job_file import read_attempts
from c2d.core.run_state import HEARTBEAT_LIMIT_S, time_stamp
from sweeps.state.eta import eta_s, left_s
from sweeps.state.failed_attempts import pending_retries
from sweeps.state.plan import Row
from sweeps.state.run_facts import FILE_DELAY_S, completed_s_ago
from sweeps.state.state_rules import STATES

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from sweeps.scheduler.queue import JobFacts

SHOWN = 20
"""Runs of one state that the table lists; the counts say how many there are."""
Summary = dict[str, Any]


def summary(rows: Sequence[Row], facts: Mapping[str, JobFacts], now: float) -> Summary:
    """What `status --json` prints. Unknown numbers are None.

    Args:
        facts: what the queue knows, by job id.
        now: seconds since the epoch.
    Returns:
        counts (by state), runs (one each), gpu_hours and hours {total, wasted}, eta_s, stale, retries.
    """
    runs = [_one(row, facts.get(row.job.job) if row.job is not None and row.job.job else None, now) for row in rows]
    counts: dict[str, int] = {}
    for run in runs:
        counts[run["state"]] = counts.get(run["state"], 0) + 1
    due = [row for row in pending_retries(rows) if row.job is not None and row.job.where == "slurm"]
    return {
        "counts": {state: counts[state] for state in (*STATES, "finishing") if state in counts},
        "runs": runs,
        "gpu_hours": {key: round(sum(run[name] for run in runs), 3) for key, name in _GPU_SUMS},
        "hours": {key: round(sum(run[name] for run in runs), 3) for key, name in _SUMS},
        "eta_s": eta_s(runs),
        "stale": sum(run["stale"] for run in runs),
        "retries": len(due),
    }


_GPU_SUMS = (("total", "gpu_hours"), ("wasted", "gpu_hours_wasted"))
_SUMS = (("total", "hours"), ("wasted", "hours_wasted"))


def _one(row: Row, fact: JobFacts | None, now: float) -> dict[str, Any]:
    status, job = row.status, row.job
    attempts = read_attempts(row.run) if job is not None or status.get("attempt") else []
    elapsed_s = float(status.get("elapsed_s") or 0.0)
    lost_s = sum(float(death.get("lost_s") or 0.0) for death in attempts)
    wasted_s = elapsed_s if row.state == "failed" else min(lost_s, elapsed_s)
    gpus = job.gpus if job is not None else 0
    age_s = _heartbeat_age_s(status, now) if row.state == "running" else None
    late, stopped_s = row.state in ("running", "waiting", "failed"), completed_s_ago(fact, now)
    finishing = late and stopped_s is not None and stopped_s <= FILE_DELAY_S and not _recorded_failure(row)
    return {
        "run": row.run.id,
        "kind": row.kind,
        "labels": [dict(cell) for cell in row.cells],
        "state": "finishing" if finishing else row.state,
        "reason": f"job {fact.job} is complete, its files are on their way" if finishing and fact else row.reason,
        "class": None if finishing else row.failure_class,
        "launch": row.launch,
        "iteration": status.get("iteration"),
        "iterations": status.get("iterations"),
        "stage": status.get("stage"),
        "heartbeat_age_s": age_s,
        "stale": age_s is not None and age_s > HEARTBEAT_LIMIT_S,
        "attempt": status.get("attempt", 0),
        "deaths": len(attempts),
        "job": job.job if job is not None else None,
        "node": (fact.node if fact is not None else "") or (status.get("host") if status.get("attempt") else None),
        "elapsed_s": elapsed_s or None,
        "left_s": left_s(row, elapsed_s) if row.state == "running" else None,
        "hours": elapsed_s / 3600,
        "hours_wasted": wasted_s / 3600,
        "gpu_hours": elapsed_s * gpus / 3600,
        "gpu_hours_wasted": wasted_s * gpus / 3600,
    }


def _recorded_failure(row: Row) -> bool:
    return row.status.get("state") == "failed"


def _heartbeat_age_s(status: Mapping[str, Any], now: float) -> float | None:
    written_at = time_stamp(status.get("heartbeat"))
    return None if written_at is None else round(max(0.0, now - written_at), 1)


def table(found: Summary) -> RenderableType:
    """Counts, hours and ETA, then the runs by state: what is done first, what failed last. Fits 100 columns."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    parts: list[RenderableType] = [escape(line) for line in heading(found)]
    order = ("done", "new", "waiting", "running", "finishing", "blocked", "failed")
    shown = Table(box=None, pad_edge=False, expand=False)
    for name, options in (
        ("state", {"no_wrap": True}),
        ("run", {"overflow": "fold", "max_width": 60, "min_width": 20}),
        ("cell", {"overflow": "fold", "max_width": 44}),
        ("progress", {"no_wrap": True}),
        ("why", {"overflow": "fold", "min_width": 16, "ratio": 1}),
    ):
        shown.add_column(name, **options)
    for state in order:
        runs = [run for run in found["runs"] if run["state"] == state]
        runs.sort(key=lambda run: str(run["class"] or ""))
        most = len(runs) if state == "failed" and len(runs) <= 2 * SHOWN else SHOWN
        for run in runs[:most]:
            why = "" if state == "done" else _why(run)
            cells = [escape(text) for text in (run["run"], _cell(run), _progress(run), why)]
            shown.add_row(f"[{_COLOURS[state]}]{state}[/]", *cells)
        if len(runs) > most:
            shown.add_row(f"[{_COLOURS[state]}]{state}[/]", f"... and {len(runs) - most} more", "", "", "")
    return Group(*parts, shown) if found["runs"] else Group(*parts)


_COLOURS = {
    "done": "green", "new": "dim", "waiting": "cyan", "running": "bold", "finishing": "bold",
    "blocked": "yellow", "failed": "bold red",
}  # fmt: skip


def heading(found: Summary) -> list[str]:
    """The lines above the table: counts, cost, ETA."""
    counts = ", ".join(f"{count} {state}" for state, count in found["counts"].items()) or "no runs"
    gpu, wall = found["gpu_hours"], found["hours"]
    cost = f"{gpu['total']:.2f} GPU hours" if gpu["total"] else f"{wall['total']:.2f} hours"
    wasted = gpu["wasted"] if gpu["total"] else wall["wasted"]
    lines = [
        f"{len(found['runs'])} runs: {counts}",
        f"{cost}, of these wasted {wasted:.2f}; left {duration(found['eta_s'])}",
    ]
    if found["stale"]:
        lines.append(f"{found['stale']} without a heartbeat for more than {HEARTBEAT_LIMIT_S / 60:.0f} minutes")
    if found["retries"]:
        lines.append(f"{found['retries']} will be retried by `c2d sweep status --watch` or `c2d sweep retry`")
    return [f"{found['sweep']}: {found['question']}", *lines] if found.get("sweep") else lines


def duration(seconds: float | None) -> str:
    """
    >>> [duration(s) for s in (None, 40, 600, 9000, 200000)]
    ['-', '40 s', '10 min', '2 h 30 min', '2 d 8 h']
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _cell(run: Mapping[str, Any]) -> str:
    if not run["labels"]:
        return str(run["kind"])
    text = ", ".join(f"{axis.rpartition('.')[2]}={label}" for axis, label in run["labels"][0].items())
    return text + (f" (+{len(run['labels']) - 1})" if len(run["labels"]) > 1 else "")


def _progress(run: Mapping[str, Any]) -> str:
    if run["state"] == "new":
        return "-"
    steps = f"{run['iteration'] or 0}/{run['iterations']}" if run["iterations"] else "-"
    return f"{steps}, {duration(run['left_s'])} left" if run["left_s"] is not None else steps


def _why(run: Mapping[str, Any]) -> str:
    reason = str(run["reason"])
    if run["state"] == "running":
        age = duration(run["heartbeat_age_s"])
        beat = f"STALE, no heartbeat for {age}" if run["stale"] else f"heartbeat {age} ago"
        place = f"job {run['job']} on {run['node']}" if run["job"] else f"on {run['node']}"
        return f"{place}, {beat}" if run["heartbeat_age_s"] is not None else reason
    again = f" (attempt {run['attempt']})" if run["state"] == "failed" and run["attempt"] > 1 else ""
    return f"{reason}{again}"


def ended(found: Summary) -> bool:
    """True when nothing runs, waits in a queue or will be retried by itself."""
    at_rest = ("done", "failed", "blocked", "new")
    idle = all(run["state"] in at_rest or (run["state"] == "waiting" and run["launch"]) for run in found["runs"])
    return idle and not found["retries"]


def watch(
    look: Callable[[], Summary],
    mend: Callable[[], object],
    console: Console,
    every_s: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Summary:
    """Show the table every `every_s` seconds until everything has ended; returns the last summary.

    Args:
        look: the summary as of now.
        mend: launches what is retried by itself and may be by now; called after every look while there is such a run.
    """
    from c2d.core.errors import InputError, RunError

    found: Summary | None = None
    while True:
        try:
            found = look()
            console.print(table(found))
            if ended(found):
                return found
            if found["retries"]:
                mend()
        except (RunError, InputError) as error:  # a controller or a lock that is busy now is free later
            console.print(f"warning: {error}", markup=False)
        sleep(max(0.2, every_s))
