"""The failed attempts of a run, with the newest one where no process was left to record it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from c2d.core.failure_classes import FAILURE_CLASSES
from c2d.core.job_file import read_attempts
from c2d.core.run_state import time_stamp
from sweeps.failures.retry_policy import exhausted
from sweeps.state.plan import Row


def pending_retries(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that are launched again automatically: failed ones (after their back-off) and released ones.

    A released row is returned once its teachers are done, or in the queue.
    """
    every = list(rows)
    by_id = {row.run.id: row for row in every}
    return [row for row in every if _is_pending(row) or (row.is_released and teachers_are_launched(row, by_id))]


def teachers_are_launched(row: Row, by_id: Mapping[str, Row]) -> bool:
    """Return whether every teacher of a row is done, runs, or waits in a queue; one of another sweep alone counts."""
    teachers = [by_id[need] for need in row.needs if need in by_id]
    return all(
        found.state in ("done", "running") or (found.state == "waiting" and not found.launch) for found in teachers
    )


def _is_pending(row: Row) -> bool:
    return row.state == "failed" and not exhausted(class_of_row(row), failed_attempts(row))


def failed_attempts(row: Row) -> list[dict[str, Any]]:
    """Return the lines of attempts.jsonl, and the newest failure as well where it is not recorded there yet."""
    found = read_attempts(row.run)
    if row.state != "failed" or (found and _is_newest(found[-1], row)):
        return found
    status, job = row.status, row.job
    newest = {
        "time": status.get("heartbeat") or (job.submitted if job else ""),
        "class": class_of_row(row),
        "reason": row.reason,
        "job": job.job if job else None,
        "node": status.get("node") or status.get("host"),
        "iteration": status.get("iteration", 0),
        "attempt": status.get("attempt", 0),
        "requeued": False,
        "by": "retry",
        "submission": job.submissions if job else 0,
    }
    return [*found, newest]


def class_of_row(row: Row) -> str:
    """Return the failure class of a row; `unknown` for one that has none, or one of another version."""
    return row.failure_class if row.failure_class in FAILURE_CLASSES else "unknown"


def _is_newest(attempt: Mapping[str, Any], row: Row) -> bool:
    """Return whether this line is about the end of the row's last launch.

    Lines that `retry` wrote itself are compared by the number of the submission: their seconds are too coarse.
    """
    if attempt.get("by") == "retry":
        return attempt.get("submission") == (row.job.submissions if row.job is not None else 0)
    since = time_stamp(row.job.submitted) if row.job is not None else None
    return not attempt.get("requeued") and (time_stamp(attempt.get("time")) or 0.0) >= (since or 0.0)
