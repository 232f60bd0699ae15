"""The numbers of `c2d sweep status`: the runs by state, what they have cost, and the time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from c2d.core.run_state import HEARTBEAT_LIMIT_S, time_stamp
from sweeps.state.eta import eta_s, expected_hours, left_s, run_left_s
from sweeps.state.failed_attempts import pending_retries
from sweeps.state.pending_groups import group_pending
from sweeps.state.plan import Row
from sweeps.state.run_facts import is_just_completed_job
from sweeps.state.run_reader import RunReader
from sweeps.state.state_rules import STATES

if TYPE_CHECKING:
    from sweeps.scheduler.queue import JobFacts

Summary = dict[str, Any]
"""What `c2d sweep status --json` prints; see `summarize`."""


def summarize(
    rows: Sequence[Row],
    facts: Mapping[str, JobFacts],
    now: float,
    sweep: str = "SWEEP",
    reader: RunReader | None = None,
) -> Summary:
    """Return the numbers of the rows of a plan.

    Args:
        rows: see `sweeps.state.plan`.
        facts: what SLURM reports, by job id.
        now: seconds since the epoch.
        sweep: its name, for commands to type.
        reader: reads attempts, logs and curves; None: everything is read now.

    Returns:
        counts: {state: number of runs}; `unknown` is a state that depends on SLURM, which does not answer.
        silence: why SLURM does not answer; None if it does, or was not asked.
        runs: one mapping a run; unknown numbers are None.
        gpu_hours, hours: {total, wasted, expected}; wasted is what failed runs took and what had to be repeated,
            expected is the total when the last run has ended, None if unknown.
        eta_s: seconds until the last run is done; None if unknown.
        pending: waiting jobs for which a person can type a command, by SLURM's reason (`sweeps.state.pending_groups`).
        stale: number of running runs with an old heartbeat.
        retries: number of failed runs that are retried automatically.
        problems: files of runs that cannot be used, and that do not decide the state of their runs, one line each.
    """
    reader = reader or RunReader()
    runs = [
        _summarize_run(row, facts.get(job.job) if job is not None and job.job else None, now, reader)
        for row, job in ((row, row.deciding_job) for row in rows)
    ]
    counts: dict[str, int] = {}
    for run in runs:
        counts[run["state"]] = counts.get(run["state"], 0) + 1
    left = run_left_s(runs)
    expected = dict(zip(("gpu_hours", "hours"), expected_hours(runs, left), strict=True))
    # A local launcher retries its own runs.
    due = [row for row in pending_retries(rows) if row.job is not None and row.job.where == "slurm"]
    return {
        "counts": {state: counts[state] for state in (*STATES, "finishing", "unknown") if state in counts},
        "silence": next((row.silence for row in rows if row.silence), None),
        "runs": runs,
        **{
            unit: {
                **{key: round(sum(run[name] for run in runs), 3) for key, name in sums},
                "expected": None if found is None or "unknown" in counts else round(found, 3),
            }
            for (unit, found), sums in zip(expected.items(), (_GPU_SUMS, _SUMS), strict=True)
        },
        "eta_s": None if "unknown" in counts else eta_s(runs, left, now),
        "pending": [group.to_json() for group in group_pending(rows, facts, sweep)],
        "stale": sum(run["stale"] for run in runs),
        "retries": len(due),
        "problems": [
            f"{problem.path} {problem.message}" for row in rows if row.state != "damaged" for problem in row.problems
        ],
    }


_GPU_SUMS = (("total", "gpu_hours"), ("wasted", "gpu_hours_wasted"))
_SUMS = (("total", "hours"), ("wasted", "hours_wasted"))


def _summarize_run(row: Row, fact: JobFacts | None, now: float, reader: RunReader) -> dict[str, Any]:
    status, job = row.status, row.deciding_job
    attempts = reader.attempts(row.run) if job is not None or status.get("attempt") else []
    # Negative where an earlier version met a clock that was set back.
    elapsed_s = max(0.0, status.get("elapsed_s") or 0.0)
    lost_s = sum(max(0.0, attempt.get("lost_s") or 0.0) for attempt in attempts)
    # A failed run has no result, so all of its time is lost.
    wasted_s = elapsed_s if row.state == "failed" else min(lost_s, elapsed_s)
    gpus = job.gpus if job is not None else 0
    log = reader.log(row.run, job)
    age_s = _heartbeat_age_s(status, now) if row.state == "running" else None
    # On a network file system the last files of a job may arrive after SLURM reports its end.
    may_be_late = row.state in ("running", "waiting", "failed") and row.status.get("state") != "failed"
    finishing = may_be_late and is_just_completed_job(fact, now)
    return {
        "run": row.run.id,
        "kind": row.kind,
        "label": row.label,
        "labels": [dict(cell) for cell in row.cells],
        "state": "finishing" if finishing else "unknown" if row.is_last_known else row.state,
        "last_known_state": row.state if row.is_last_known else None,
        "reason": f"job {fact.job} is complete, its files have not arrived yet" if finishing and fact else row.reason,
        "class": None if finishing else row.failure_class,
        "launch": row.launch,
        "iteration": status.get("iteration"),
        "iterations": status.get("iterations"),
        "stage": status.get("stage"),
        "begun": status.get("begun"),
        "heartbeat": status.get("heartbeat"),
        "heartbeat_age_s": age_s,
        "stale": age_s is not None and age_s > HEARTBEAT_LIMIT_S,
        "attempt": status.get("attempt", 0),
        "deaths": len(attempts),
        "job": job.job if job is not None else None,
        "gpus": gpus if job is not None else None,
        "canary": row.canary is not None,
        "log": None if log is None else str(log),
        "starts_at": _starts_at(row, fact, now),
        "node": (fact.node if fact is not None else "") or _node(status),
        "elapsed_s": elapsed_s or None,
        "left_s": left_s(row, elapsed_s, reader.curve(row.run)) if row.state == "running" else None,
        "hours": elapsed_s / 3600,
        "hours_wasted": wasted_s / 3600,
        "gpu_hours": elapsed_s * gpus / 3600,
        "gpu_hours_wasted": wasted_s * gpus / 3600,
    }


def _starts_at(row: Row, fact: JobFacts | None, now: float) -> str | None:
    """Return when SLURM expects to start a waiting job, as ISO time with its zone; None where it gives no time.

    squeue prints it as the start of a pending job, so that no call of its own is needed.
    """
    if row.state != "waiting" or fact is None or fact.state != "PENDING":
        return None
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(fact.started).astimezone()
        # A time in the past is the start before a requeue, or what SLURM expected some time ago.
        return at.isoformat(timespec="seconds") if at.timestamp() >= now else None
    return None


def _node(status: Mapping[str, Any]) -> str | None:
    """Return where the last attempt ran: SLURM's name of the node, or that of a host without SLURM."""
    return (status.get("node") or status.get("host")) if status.get("attempt") else None


def _heartbeat_age_s(status: Mapping[str, Any], now: float) -> float | None:
    written_at = time_stamp(status.get("heartbeat"))
    return None if written_at is None else round(max(0.0, now - written_at), 1)
