"""What follows a job that ended badly: note the death, and start again where that may help.

`python -m sweeps.node.on_exit FOLDERS_TXT EXIT_CODE` runs on the node at the end of the batch script, when the job's own
processes are gone. Started again by itself is only what died of infrastructure, and only as often as sweeps/failures/retry_policy.py
allows. More memory or a longer limit needs another submission (`c2d sweep retry`), and code is never run again without
being asked.
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
from typing import Any

from c2d.core.attempt import clear_dead_lock
from c2d.core.failure_classes import class_of_name
from c2d.core.job_file import append_attempt, read_attempts, read_job
from c2d.core.run_folder import RunFolder
from c2d.core.run_state import lock_owner
from sweeps.failures.retry_policy import exhausted
from sweeps.scheduler.scontrol import JobStart, own_job, read_job_start, requeue

CLOCK_S = 30.0  # by which clocks of nodes and of the shared disk may differ
ROUND_S = 2.0  # SLURM counts whole seconds, and status.json's heartbeat has no fractions
WARNED = 128 + signal.SIGUSR2  # SLURM's warning came before python could listen
UNKNOWN = JobStart()
PrintLine = Callable[[str], None]
Start = Callable[[], str]


@dataclass(frozen=True)
class Decision:
    """What a death was, and what is done about it: `again` (we requeue), `slurm` (SLURM does), `stop`, `nothing`."""

    action: str
    failure_class: str = ""
    reason: str = ""


def judge(folder: RunFolder, exit_code: int, now: JobStart, start: int = 0) -> Decision:
    """Decide about a job that ended with `exit_code`. Looks at the run folder, changes nothing.

    Args:
        start: how often this job was started before (SLURM_RESTART_COUNT).
    """
    now = now.of_start(start)
    status = folder.read_status()
    if folder.is_done:
        return Decision("nothing", reason="the run is done")
    who = lock_owner(folder)
    if who is not None:
        return Decision("nothing", reason=f"the run is now written by {who}")
    kind, reason = _diagnosis(folder, exit_code, now)
    if now.restarts > start or now.state == "PENDING":  # its node went down, its grace time is over, or an operator
        return Decision("slurm", "preempted" if now.preempted else kind, reason)
    job = read_job(folder)
    ended = now.state not in ("RUNNING", "") and not now.preempted and not now.over_limit
    if ended or (job is not None and job.state == "cancelled"):
        return Decision("stop", "cancelled", "somebody cancelled its job")
    if now.job and not now.state:
        return Decision("stop", kind, f"{reason}; SLURM does not say whether somebody cancelled it")
    reached = max(status.get("iteration") or 0, _saved(folder))
    deaths = [*read_attempts(folder), {"class": kind, "iteration": reached}]
    again = class_of_name(kind).kind == "infrastructure" and not exhausted(kind, deaths)
    return Decision("again" if again else "stop", kind, reason)


def handle_exit(
    folder: RunFolder, exit_code: int, now: JobStart, print_line: PrintLine, start: Start, by: str, starts: int = 0
) -> None:
    """Judge, note the death, and start again or give up.

    Args:
        say: is told in one line what was done, before `start`: SLURM ends a batch script that requeues its own job.
        start: starts the job again; returns "" or why it could not.
        by: who notes it: after (on a node), local.
        starts: how often the job was started before.
    """
    now = now.of_start(starts)
    verdict = judge(folder, exit_code, now, starts)
    if verdict.action == "nothing":
        print_line(f"{folder.id}: exit code {exit_code}; {verdict.reason}")
        return
    status, kind, again = folder.read_status(), verdict.failure_class, verdict.action != "stop"
    record_failure(folder, status, kind, verdict.reason, requeued=again, by=by, exit_code=exit_code, now=now)
    clear_dead_lock(folder)
    if again:
        if status["state"] != "waiting":
            folder.write_status("waiting", reason=f"{verdict.reason}; starts again by itself")
        print_line(f"{folder.id} ended ({kind}): {verdict.reason}; it starts again")
        problem = start() if verdict.action == "again" else ""
        if not problem:
            return
        verdict = replace(verdict, reason=f"{verdict.reason}; could not be started again: {problem}")
    if again or status["state"] != "failed" or kind == "cancelled" or not said_in(status, now):
        folder.write_status("failed", reason=verdict.reason, failure_class=kind, error=verdict.reason)
    suggestion = class_of_name(kind).suggestion
    print_line(f"{folder.id} ended ({kind}): {verdict.reason}; {suggestion}")


def record_failure(
    folder: RunFolder,
    status: dict[str, Any],
    failure_class: str,
    reason: str,
    *,
    requeued: bool,
    by: str,
    exit_code: int | None = None,
    now: JobStart = UNKNOWN,
) -> None:
    """A line in attempts.jsonl. `seconds` is what the attempt took, `lost_s` what of it has to be done again."""
    began = begun_in(status, now) and not _is_noted(folder, status)
    end = time.time() if status["state"] == "running" and by != "job" else _heartbeat(status)  # a beat is 10 s old
    facts: dict[str, Any] = {
        "class": failure_class,
        "reason": reason,
        "job": now.job or (own_job(os.environ) or None if by != "local" else None),
        "node": now.node or status.get("host") or socket.gethostname(),
        "exit_code": exit_code,
        "iteration": max(status.get("iteration") or 0, _saved(folder)),
        "seconds": round(max(0.0, end - status["begun"]), 1) if began else round(now.run_s or 0.0, 1),
        "lost_s": lost_s(folder, status, end) if began else 0.0,
        "requeued": requeued,
        "by": by,
        "attempt": status.get("attempt", 0) if began else None,
    }
    append_attempt(folder, **facts)


def begun_in(status: dict[str, Any], now: JobStart) -> bool:
    """False when status.json is that of an earlier start: this one died before its attempt began."""
    begun = status.get("begun")
    return begun is not None and begun > now.begun - ROUND_S


def _is_noted(folder: RunFolder, status: dict[str, Any]) -> bool:
    """Whether the end of this attempt is in attempts.jsonl: then it was one of an earlier start."""
    number = status.get("attempt")
    return number is not None and any(death.get("attempt") == number for death in read_attempts(folder))


def said_in(status: dict[str, Any], now: JobStart) -> bool:
    """False when status.json was written by an earlier start. This one may have failed before its attempt began."""
    return _heartbeat(status) > now.begun - ROUND_S


def lost_s(folder: RunFolder, status: dict[str, Any], end: float) -> float:
    """Seconds of the newest attempt that were not saved: from its newest checkpoint to its `end`."""
    if status["state"] == "waiting":
        return 0.0
    saved = float(status["begun"])
    for path in folder.checkpoints.glob("iter_*.pth"):
        with suppress(OSError):
            saved = max(saved, path.stat().st_mtime)
    return round(max(0.0, end - saved), 1)


def folder_of_task(folders: Path, environment: dict[str, str]) -> RunFolder:
    """The run of this task: the line of its place in the array; the first where there is no array."""
    lines = folders.read_text().splitlines()
    return RunFolder(Path(lines[int(environment.get("SLURM_ARRAY_TASK_ID") or 0)]))


def _diagnosis(folder: RunFolder, exit_code: int, now: JobStart) -> tuple[str, str]:
    """(class, reason): by the signal that ended it politely, else by what triage makes of record, log and exit code."""
    from sweeps.failures import log_patterns
    from sweeps.failures.diagnose import diagnose, gather_evidence

    status = folder.read_status()
    evidence = gather_evidence(folder, None, exit_code)
    # Killed in its start-up, it has left nothing of its own: what is there speaks of an earlier start.
    evidence = replace(evidence, attempts=[], since=max(evidence.since, now.begun - CLOCK_S))
    earlier = status["state"] in ("waiting", "running") and _is_noted(folder, status)
    if earlier or not said_in(status, now):
        status = {"state": "waiting"}
        evidence = replace(evidence, status=status)
    told = any(folder.ranks.glob("*.json"))  # a rank failed, and srun ended the others politely
    if exit_code in (130, WARNED) and not told:
        lines = [line for _, part in log_patterns.parts(evidence.log_tail, evidence.since) for line in part]
        saved = "SIGUSR2" in str(status.get("reason")) and status["state"] == "waiting"
        warned = saved or exit_code == WARNED or any("asked to stop by SIGUSR2" in line for line in lines)
        kind = "time-limit" if (warned or now.over_limit) and not now.preempted else "preempted"
        return kind, "asked to stop by SLURM's warning" if warned else "asked to stop"
    if now.preempted and not told:
        return "preempted", f"preempted before it had saved (exit code {exit_code})"
    found = diagnose(evidence)
    kind = found.failure_class
    if now.over_limit:
        kind = "time-limit"
    if status["state"] == "failed" and status.get("reason"):
        return kind, str(status["reason"])
    return kind, found.lines[-1].strip() if told and found.lines else f"its process ended with exit code {exit_code}"


def _saved(folder: RunFolder) -> int:
    """Iteration of the newest checkpoint, by its name; 0 without one."""
    names = [path.stem.removeprefix("iter_") for path in folder.checkpoints.glob("iter_*.pth")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _heartbeat(status: dict[str, Any]) -> float:
    beat = status.get("heartbeat")  # none: nothing was ever written
    return datetime.fromisoformat(beat).timestamp() if beat else 0.0


def main(words: list[str]) -> int:
    """0 when the run is done whatever its process ended with, else 1. Never raises: the batch script has to end."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a preemption's and a requeue's; scontrol inherits it
        folder, code = folder_of_task(Path(words[0]), dict(os.environ)), int(words[1])
        job, starts = own_job(os.environ), int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        handle_exit(folder, code, read_job_start(job), _print, lambda: requeue(job), by="after", starts=starts)
        return 0 if folder.is_done else 1
    except Exception as error:
        _print(f"warning: nothing could be done about this end: {type(error).__name__}: {error}")
        return 1


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
