"""Record why a job failed, and requeue it if its failure class allows.

`python -m sweeps.node.on_exit FOLDERS_TXT EXIT_CODE` is run by the batch script, on the node, after the job's processes
have ended. Only infrastructure failures are requeued, as often as sweeps/failures/retry_policy.py allows. More memory
or a longer limit needs another submission (`c2d sweep retry`), and code is never run again without a request.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from c2d.core.attempt import clear_dead_lock
from c2d.core.failure_classes import class_of_name
from c2d.core.job_file import launch_of_job, load_attempts, read_job
from c2d.core.printable import log_text, printable_streams
from c2d.core.regular_file import Problem, read_bytes
from c2d.core.run_folder import RunFolder
from c2d.core.run_state import lock_owner
from sweeps.failures.retry_policy import exhausted
from sweeps.node.failure_record import is_recorded, is_status_of_start, record_failure, saved_iteration
from sweeps.scheduler.scontrol import JobStart, own_job, read_job_start, requeue

CLOCK_S = 30.0  # by which clocks of nodes and of the shared disk may differ
CANCEL_WAIT_S, CANCEL_POLL_S = 15.0, 0.5
"""Below SLURM's KillWait, after which it kills the batch script of a cancelled job."""
MARK_S = 600.0
KILLED_BY_WARNING = 128 + getattr(signal, "SIGUSR2", 12)
"""SLURM's warning came before python had a handler for it. 12 is Linux's number: a plan is made on Windows too."""
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
    status = folder.try_read_status()
    if folder.is_done:
        return Decision("nothing", reason="the run is done")
    owner = lock_owner(folder)
    if owner is not None:
        return Decision("nothing", reason=f"the run is now written by {owner}")
    failure_class, reason = _diagnosis(folder, exit_code, start)
    if start.restarts > restarts or start.state == "PENDING":  # node failure, end of the grace time, or an operator
        return Decision("slurm", "preempted" if start.preempted else failure_class, reason)
    ended = start.state not in ("RUNNING", "") and not start.preempted and not start.over_limit
    if ended or is_cancelled(folder, start):
        return Decision("stop", "cancelled", "its job was cancelled")
    # Without an answer of SLURM, a requeue could bring back a job that a person has cancelled.
    if start.job and not start.state:
        return Decision("stop", failure_class, f"{reason}; SLURM does not report whether its job was cancelled")
    iteration = max(status.get("iteration") or 0, saved_iteration(folder))
    earlier = load_attempts(folder)
    if isinstance(earlier, Problem):  # how often it was retried is unknown
        return Decision("stop", failure_class, f"{reason}; {earlier.path.name} {earlier.message}")
    attempts = [*earlier, {"class": failure_class, "iteration": iteration}]
    requeued = class_of_name(failure_class).kind == "infrastructure" and not exhausted(failure_class, attempts)
    return Decision("requeue" if requeued else "stop", failure_class, reason)


def is_cancelled(folder: RunFolder, start: JobStart) -> bool:
    """Return whether a person has cancelled this job. A cancel on its way to SLURM is waited for: it may be refused.

    A cancel without an answer counts, unless it is MARK_S old: then its shell has ended.
    """
    deadline = time.monotonic() + CANCEL_WAIT_S
    while (job := launch_of_job(folder, start.job)) is not None and job.state == "cancelling":
        path = folder.job if job == read_job(folder) else folder.canary
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > MARK_S:
                return False
        if time.monotonic() > deadline:
            return True
        time.sleep(CANCEL_POLL_S)
    return job is not None and job.state == "cancelled"


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
    status, failure_class, requeued = folder.try_read_status(), decision.failure_class, decision.action != "stop"
    record_failure(
        folder, status, failure_class, decision.reason, requeued=requeued, by=by, exit_code=exit_code, start=start
    )
    # Otherwise a next start on another node would wait until the heartbeat of this one is stale.
    clear_dead_lock(folder)
    if requeued:
        if status["state"] != "waiting":
            folder.write_status("waiting", reason=f"{decision.reason}; restarts automatically")
        print_line(f"{folder.id} ended ({failure_class}): {decision.reason}; it restarts")
        problem = requeue() if decision.action == "requeue" else ""
        if not problem:
            return
        decision = replace(decision, reason=f"{decision.reason}; requeue failed: {problem}")
    # A failure that the run recorded itself has more detail, so it stays.
    own_failure = status["state"] == "failed" and failure_class != "cancelled" and is_status_of_start(status, start)
    if requeued or not own_failure:
        folder.write_status("failed", reason=decision.reason, failure_class=failure_class, error=decision.reason)
    suggestion = class_of_name(failure_class).suggestion
    print_line(f"{folder.id} ended ({failure_class}): {decision.reason}; {suggestion}")


def folder_of_task(folders: Path, environment: dict[str, str]) -> RunFolder:
    """Return the run of this task: line SLURM_ARRAY_TASK_ID of folders.txt; the first line of a plain job."""
    lines = read_bytes(folders).decode().split("\n")
    return RunFolder(Path(lines[int(environment.get("SLURM_ARRAY_TASK_ID") or 0)]))


def _diagnosis(folder: RunFolder, exit_code: int, start: JobStart) -> tuple[str, str]:
    """Return (class, reason): from the signal that stopped it, else from files, log and exit code, as `triage`."""
    from sweeps.failures import log_patterns
    from sweeps.failures.diagnose import diagnose
    from sweeps.failures.evidence import gather_evidence

    status = folder.try_read_status()
    evidence = gather_evidence(folder, None, exit_code, launch_of_job(folder, start.job))
    # A process that was killed during start-up wrote nothing: the files are of an earlier start.
    evidence = replace(evidence, attempts=[], since=max(evidence.since, start.started - CLOCK_S))
    earlier = status["state"] in ("waiting", "running") and is_recorded(folder, status)
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


@printable_streams(log_text)
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
