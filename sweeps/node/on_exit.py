"""Record why a job failed, and requeue it if its failure class allows.

`python -m sweeps.node.on_exit FOLDERS_TXT EXIT_CODE` is run by the batch script, on the node, after the job's processes
have ended. Only infrastructure failures are requeued, as often as sweeps/failures/retry_policy.py allows. More memory
or a longer limit needs another submission (`c2d sweep retry`), and code is never run again without a request.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from c2d.core.attempt import clear_dead_lock
from c2d.core.failure_classes import class_of_name
from c2d.core.job_file import append_attempt, read_attempts, read_job
from c2d.core.run_folder import RunFolder
from c2d.core.run_state import lock_owner
from sweeps.failures.retry_policy import exhausted
from sweeps.scheduler.scontrol import JobStart, own_job, read_job_start, requeue

CLOCK_S = 30.0  # by which clocks of nodes and of the shared disk may differ
ROUND_S = 2.0  # SLURM counts whole seconds, and status.json's heartbeat has no fractions
KILLED_BY_WARNING = 128 + signal.SIGUSR2  # SLURM's warning came before python had a handler for it
UNKNOWN_START = JobStart()
PrintLine = Callable[[str], None]
Requeue = Callable[[], str]
"""Start the job again; returns "" or why that failed."""


@dataclass(frozen=True)
class Decision:
    """The decision about one exit.

    Attributes:
        action: "requeue"; "slurm", which requeues it itself; "stop"; or "nothing" to do.
        failure_class: see c2d/core/failure_classes.py; "" for `nothing`.
        reason: one line.
    """

    action: Literal["requeue", "slurm", "stop", "nothing"]
    failure_class: str = ""
    reason: str = ""


def decide(folder: RunFolder, exit_code: int, start: JobStart, restarts: int = 0) -> Decision:
    """Decide about a job that ended with `exit_code`. Reads the run folder and changes nothing.

    Args:
        start: this start of the job, as SLURM describes it now.
        restarts: earlier starts of this job (SLURM_RESTART_COUNT).
    """
    start = start.without_next_start(restarts)
    status = folder.read_status()
    if folder.is_done:
        return Decision("nothing", reason="the run is done")
    owner = lock_owner(folder)
    if owner is not None:
        return Decision("nothing", reason=f"the run is now written by {owner}")
    failure_class, reason = _diagnosis(folder, exit_code, start)
    if start.restarts > restarts or start.state == "PENDING":  # node failure, end of the grace time, or an operator
        return Decision("slurm", "preempted" if start.preempted else failure_class, reason)
    job = read_job(folder)
    ended = start.state not in ("RUNNING", "") and not start.preempted and not start.over_limit
    if ended or (job is not None and job.state == "cancelled"):
        return Decision("stop", "cancelled", "its job was cancelled")
    if start.job and not start.state:
        return Decision("stop", failure_class, f"{reason}; SLURM does not report whether its job was cancelled")
    iteration = max(status.get("iteration") or 0, _saved_iteration(folder))
    attempts = [*read_attempts(folder), {"class": failure_class, "iteration": iteration}]
    requeued = class_of_name(failure_class).kind == "infrastructure" and not exhausted(failure_class, attempts)
    return Decision("requeue" if requeued else "stop", failure_class, reason)


def handle_exit(
    folder: RunFolder,
    exit_code: int,
    start: JobStart,
    print_line: PrintLine,
    requeue: Requeue,
    by: str,
    restarts: int = 0,
) -> None:
    """Decide, record the failure, and requeue the job or mark the run as failed.

    Args:
        start: this start of the job, as SLURM describes it now.
        print_line: called with one line about what is done, before `requeue`: SLURM ends a batch script that requeues
            its own job.
        requeue: starts the job again.
        by: who records it: `after` (on a node) or `local`.
        restarts: earlier starts of this job.
    """
    start = start.without_next_start(restarts)
    decision = decide(folder, exit_code, start, restarts)
    if decision.action == "nothing":
        print_line(f"{folder.id}: exit code {exit_code}; {decision.reason}")
        return
    status, failure_class, requeued = folder.read_status(), decision.failure_class, decision.action != "stop"
    record_failure(
        folder, status, failure_class, decision.reason, requeued=requeued, by=by, exit_code=exit_code, start=start
    )
    clear_dead_lock(folder)
    if requeued:
        if status["state"] != "waiting":
            folder.write_status("waiting", reason=f"{decision.reason}; restarts automatically")
        print_line(f"{folder.id} ended ({failure_class}): {decision.reason}; it restarts")
        problem = requeue() if decision.action == "requeue" else ""
        if not problem:
            return
        decision = replace(decision, reason=f"{decision.reason}; requeue failed: {problem}")
    own_failure = status["state"] == "failed" and failure_class != "cancelled" and is_status_of_start(status, start)
    if requeued or not own_failure:
        folder.write_status("failed", reason=decision.reason, failure_class=failure_class, error=decision.reason)
    suggestion = class_of_name(failure_class).suggestion
    print_line(f"{folder.id} ended ({failure_class}): {decision.reason}; {suggestion}")


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
    began = is_attempt_of_start(status, start) and not _is_recorded(folder, status)
    end = time.time() if status["state"] == "running" and by != "job" else _heartbeat(status)  # a beat is 10 s old
    facts: dict[str, Any] = {
        "class": failure_class,
        "reason": reason,
        "job": start.job or (own_job(os.environ) or None if by != "local" else None),
        "node": start.node or status.get("host") or socket.gethostname(),
        "exit_code": exit_code,
        "iteration": max(status.get("iteration") or 0, _saved_iteration(folder)),
        "seconds": round(max(0.0, end - status["begun"]), 1) if began else round(start.run_s or 0.0, 1),
        "lost_s": lost_s(folder, status, end) if began else 0.0,
        "requeued": requeued,
        "by": by,
        "attempt": status.get("attempt", 0) if began else None,
    }
    append_attempt(folder, **facts)


def is_attempt_of_start(status: dict[str, Any], start: JobStart) -> bool:
    """Return whether status.json is of this start's attempt; False when the job failed before its attempt began."""
    begun = status.get("begun")
    return begun is not None and begun > start.started - ROUND_S


def is_status_of_start(status: dict[str, Any], start: JobStart) -> bool:
    """Return whether status.json was written in this start; it may have failed before its attempt began."""
    return _heartbeat(status) > start.started - ROUND_S


def _is_recorded(folder: RunFolder, status: dict[str, Any]) -> bool:
    """Return whether attempts.jsonl has the end of this attempt, which then belongs to an earlier start."""
    number = status.get("attempt")
    return number is not None and any(attempt.get("attempt") == number for attempt in read_attempts(folder))


def lost_s(folder: RunFolder, status: dict[str, Any], end: float) -> float:
    """Return the seconds of the newest attempt that were not saved: from its newest checkpoint to its end.

    Args:
        end: seconds since the epoch.
    """
    if status["state"] == "waiting":
        return 0.0
    saved = float(status["begun"])
    for path in folder.checkpoints.glob("iter_*.pth"):
        with suppress(OSError):
            saved = max(saved, path.stat().st_mtime)
    return round(max(0.0, end - saved), 1)


def folder_of_task(folders: Path, environment: dict[str, str]) -> RunFolder:
    """Return the run of this task: line SLURM_ARRAY_TASK_ID of folders.txt; the first line of a plain job."""
    lines = folders.read_text().splitlines()
    return RunFolder(Path(lines[int(environment.get("SLURM_ARRAY_TASK_ID") or 0)]))


def _diagnosis(folder: RunFolder, exit_code: int, start: JobStart) -> tuple[str, str]:
    """Return (class, reason): from the signal that stopped it, else from files, log and exit code, as `triage`."""
    from sweeps.failures import log_patterns
    from sweeps.failures.diagnose import diagnose, gather_evidence

    status = folder.read_status()
    evidence = gather_evidence(folder, None, exit_code)
    # A process that was killed during start-up wrote nothing: the files are of an earlier start.
    evidence = replace(evidence, attempts=[], since=max(evidence.since, start.started - CLOCK_S))
    earlier = status["state"] in ("waiting", "running") and _is_recorded(folder, status)
    if earlier or not is_status_of_start(status, start):
        status = {"state": "waiting"}
        evidence = replace(evidence, status=status)
    rank_failed = any(folder.ranks.glob("*.json"))  # and srun stopped the other ranks
    if exit_code in (130, KILLED_BY_WARNING) and not rank_failed:
        lines = [line for _, part in log_patterns.split_ranks(evidence.log_tail, evidence.since) for line in part]
        saved = "SIGUSR2" in str(status.get("reason")) and status["state"] == "waiting"
        warned = saved or exit_code == KILLED_BY_WARNING or any("asked to stop by SIGUSR2" in line for line in lines)
        failure_class = "time-limit" if (warned or start.over_limit) and not start.preempted else "preempted"
        return failure_class, "asked to stop by SLURM's warning" if warned else "asked to stop"
    if start.preempted and not rank_failed:
        return "preempted", f"preempted before it had saved (exit code {exit_code})"
    diagnosis = diagnose(evidence)
    failure_class = "time-limit" if start.over_limit else diagnosis.failure_class
    if status["state"] == "failed" and status.get("reason"):
        return failure_class, str(status["reason"])
    if rank_failed and diagnosis.lines:
        return failure_class, diagnosis.lines[-1].strip()
    return failure_class, f"its process ended with exit code {exit_code}"


def _saved_iteration(folder: RunFolder) -> int:
    """Return the iteration of the newest checkpoint, from its name; 0 without one."""
    names = [path.stem.removeprefix("iter_") for path in folder.checkpoints.glob("iter_*.pth")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _heartbeat(status: dict[str, Any]) -> float:
    beat = status.get("heartbeat")  # none: nothing was ever written
    return datetime.fromisoformat(beat).timestamp() if beat else 0.0


def main(arguments: list[str]) -> int:
    """Handle the exit of this task's run. Never raises, because the batch script has to end.

    Args:
        arguments: path of folders.txt, exit code of the step.

    Returns:
        0 when the run is done, whatever the exit code of its process; else 1.
    """
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of a preemption or a requeue; scontrol inherits it
        folder, code = folder_of_task(Path(arguments[0]), dict(os.environ)), int(arguments[1])
        job, restarts = own_job(os.environ), int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        start = read_job_start(job)
        handle_exit(folder, code, start, _print, lambda: requeue(job), by="after", restarts=restarts)
        return 0 if folder.is_done else 1
    except Exception as error:
        _print(f"warning: this exit could not be handled: {type(error).__name__}: {error}")
        return 1


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
