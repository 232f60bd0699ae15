"""Record the failure of an attempt in attempts.jsonl, with its time and the part of it that is lost."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Any

from c2d.core.job_file import append_attempt, read_attempts
from c2d.core.regular_file import error_text
from c2d.core.run_folder import RunFolder, node_name
from c2d.core.run_state import time_stamp
from sweeps.scheduler.scontrol import JobStart, own_job

ROUND_S = 2.0  # SLURM counts whole seconds, and status.json's heartbeat has no fractions
UNKNOWN_START = JobStart()


def record_failure(
    folder: RunFolder,
    status: dict[str, Any],
    failure_class: str,
    reason: str,
    *,
    requeued: bool,
    by: str,
    exit_code: int | None = None,
    start: JobStart = UNKNOWN_START,
) -> None:
    """Append a line to attempts.jsonl: `seconds` is the time of the attempt, `lost_s` the part that must be repeated.

    Args:
        status: content of status.json.
        reason: one line.
        requeued: the job starts again without a new submission.
        by: who records it: after, local, job or retry.
        exit_code: of the batch script's step, or of the local process.
        start: this start of the job, as SLURM describes it.
    """
    began = is_attempt_of_start(status, start) and not is_recorded(folder, status)
    end = time.time() if status["state"] == "running" and by != "job" else _heartbeat(status)  # a beat is 10 s old
    facts: dict[str, Any] = {
        "class": failure_class,
        "reason": reason,
        "job": start.job or (own_job(os.environ) or None if by != "local" else None),
        "node": start.node or _recorded_node(status, began) or node_name(),
        "exit_code": exit_code,
        "iteration": max(status.get("iteration") or 0, saved_iteration(folder)),
        "seconds": round(max(0.0, end - status["begun"]), 1) if began else round(start.run_s or 0.0, 1),
        "lost_s": lost_s(folder, status, end) if began else 0.0,
        "requeued": requeued,
        "by": by,
        "attempt": status.get("attempt", 0) if began else None,
    }
    try:
        append_attempt(folder, **facts)
    except OSError as error:  # a full disk, or a folder in the place of the file: the run ends as it would with it
        print(f"warning: {folder.attempts} was not written: {error_text(error)}", file=sys.stderr)


def _recorded_node(status: dict[str, Any], began: bool) -> str:
    """Return the node of a run's last attempt: SLURM's name of it, or that of a host without SLURM."""
    return str(status.get("node") or status.get("host") or "") if began else ""


def is_attempt_of_start(status: dict[str, Any], start: JobStart) -> bool:
    """Return whether status.json is of this start's attempt; False when the job failed before its attempt began."""
    begun = status.get("begun")
    return begun is not None and begun > start.started - ROUND_S


def is_status_of_start(status: dict[str, Any], start: JobStart) -> bool:
    """Return whether status.json was written in this start; it may have failed before its attempt began."""
    return _heartbeat(status) > start.started - ROUND_S


def is_recorded(folder: RunFolder, status: dict[str, Any]) -> bool:
    """Return whether attempts.jsonl has the end of this attempt, which then belongs to an earlier start."""
    number = status.get("attempt")
    return number is not None and any(attempt.get("attempt") == number for attempt in read_attempts(folder))


def lost_s(folder: RunFolder, status: dict[str, Any], end: float) -> float:
    """Return the seconds of the newest attempt that were not saved: from its newest checkpoint to its end.

    Args:
        end: seconds since the epoch.
    """
    if status["state"] == "waiting" or status.get("begun") is None:
        return 0.0
    saved = float(status["begun"])
    for path in folder.checkpoints.glob("iter_*.pth"):
        with suppress(OSError):
            saved = max(saved, path.stat().st_mtime)
    return round(max(0.0, end - saved), 1)


def saved_iteration(folder: RunFolder) -> int:
    """Return the iteration of the newest checkpoint, from its name; 0 without one."""
    names = [path.stem.removeprefix("iter_") for path in folder.checkpoints.glob("iter_*.pth")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _heartbeat(status: dict[str, Any]) -> float:
    return time_stamp(status.get("heartbeat")) or 0.0  # none: nothing was ever written
