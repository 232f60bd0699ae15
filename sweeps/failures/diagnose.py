"""Why a run died: by what it recorded itself, by what SLURM says, by the signs in its log, in this order of trust.

`diagnose` is pure and needs the standard library alone: the batch script calls it on the node, within the seconds that
are left of a job. What carries no known sign stays `unknown`; nothing is guessed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.failure_classes import FAILURE_CLASSES
from sweeps.failures import log_patterns

if TYPE_CHECKING:
    from c2d.core.run_folder import RunFolder
    from sweeps.scheduler.queue import JobFacts

ACCOUNTED = {
    "OUT_OF_MEMORY": "host-oom",
    "TIMEOUT": "time-limit",
    "NODE_FAIL": "node-failure",
    "BOOT_FAIL": "node-failure",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
}
"""States of SLURM that are a reason by themselves; FAILED is none."""

WEAK = ("user-code", "killed", "unknown")
"""Recorded by somebody who saw the end and not its reason; better evidence goes first."""
WHOLE_JOB = ("preempted", "time-limit", "node-failure", "cancelled")
"""No rank went bad before the others."""


@dataclass(frozen=True)
class Evidence:
    """All that is known of one death.

    status: status.json. attempts: attempts.jsonl, oldest first. facts: what the queue says, if anything.
    exit_code: of the job's command, as the batch script saw it. ranks: <run>/ranks/*.json.
    log_tail: the last lines of every rank, each part under a line `==> rank N <==` where there are several.
    since: seconds since the epoch; what was recorded before belongs to an earlier attempt.
    """

    status: Mapping[str, Any] = field(default_factory=dict)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    facts: JobFacts | None = None
    exit_code: int | None = None
    log_tail: str = ""
    ranks: list[dict[str, Any]] = field(default_factory=list)
    since: float = 0.0


@dataclass(frozen=True)
class Diagnosis:
    """failure_class: a key of FAILURE_CLASSES. rank: the first that went bad, if known. lines: at most five."""

    failure_class: str
    rank: int | None
    lines: list[str]
    suggestion: str


def diagnose(evidence: Evidence) -> Diagnosis:
    """The class of a death, the first bad rank and the lines that tell it. Odd evidence is passed over."""
    begun = _epoch(evidence.status.get("begun")) or 0.0
    log = log_patterns.parts(evidence.log_tail, max(begun, evidence.since))
    first = _first_rank(evidence)
    recorded, said = _recorded(evidence, first)
    accounted, system = _accounted(evidence.facts), log_patterns.system_sign(log)
    error, error_rank = log_patterns.error_sign(log)
    left = _left(evidence, log)
    shot = log_patterns.first_step(log)[1].startswith("Killed")  # srun names the rank; the others only miss it
    if shot and recorded == "hang":
        recorded = ""
    order = (  # by trust; WEAK classes of the run itself after what SLURM and the kernel say of the whole job
        recorded if recorded not in WEAK else "",
        "host-oom" if system == "host-oom" else "",  # SLURM may call a job cancelled that it killed for its memory
        accounted,
        system,
        error if error not in WEAK and recorded == "killed" else "",
        "killed" if shot and not recorded else "",
        recorded if recorded != "unknown" else "",
        error,
        "hang" if log_patterns.hangs(log) or re.search(log_patterns.HANG, said) else "",
        _noted(evidence),
        left,
    )
    found = next((name for name in order if name), "unknown")
    if found in WHOLE_JOB:
        rank = None
    elif first is not None:
        rank = _number(first.get("rank"))
    elif found == error and error_rank is not None:
        rank = error_rank
    else:
        rank = log_patterns.first_step(log)[0]
        if rank is None and found == "hang":
            rank = log_patterns.silent_rank(log)
    told = said if found == recorded else ""
    if not told and found not in (system, error, "hang"):
        told = _accounting_line(evidence.facts)
    lines = log_patterns.telling(log, rank, told)
    if not lines and evidence.exit_code is not None:
        lines = [f"the job's command ended with exit code {evidence.exit_code}"]
    return Diagnosis(found, rank, lines, FAILURE_CLASSES[found].suggestion)


def _recorded(evidence: Evidence, first: Mapping[str, Any] | None) -> tuple[str, str]:
    """(class, line) by the run itself: its first bad rank, else status.json; ("", "") if it recorded nothing.

    An error that nobody raised on purpose is recorded as user-code; its own words may say more. One that only says that
    another rank is gone says nothing of why.
    """
    status = evidence.status
    if first is not None:
        name, said = str(first.get("class") or "unknown"), str(first.get("line") or "")
    elif status.get("state") == "failed" and status.get("failure_class") and _is_new(status.get("heartbeat"), evidence):
        name, said = str(status["failure_class"]), str(status.get("error") or status.get("reason") or "")
    else:
        return "", ""
    name = name if name in FAILURE_CLASSES else "unknown"
    if name in ("user-code", "unknown"):
        name = "" if log_patterns.is_cascade(said) else log_patterns.match(log_patterns.ERRORS, said) or name
    return name, said


def _first_rank(evidence: Evidence) -> Mapping[str, Any] | None:
    """The rank of the newest start that failed first, and not because another one was gone."""
    new = [rank for rank in evidence.ranks if isinstance(rank, Mapping) and _is_new(rank.get("time"), evidence)]
    if not new:
        return None

    def when(rank: Mapping[str, Any]) -> tuple[float, int]:
        return _epoch(rank.get("time")) or 0.0, _number(rank.get("rank")) or 0

    start = max(new, key=when).get("start")
    roots = [
        rank for rank in new if rank.get("start") == start and not log_patterns.is_cascade(str(rank.get("line") or ""))
    ]
    return min(roots, key=when, default=None)


def _left(evidence: Evidence, log: list[log_patterns.Part]) -> str:
    """What the exit alone says. 130, and a run that says `interrupted`: it was asked to stop, saved and left.

    SLURM sends USR2 before the time limit, and TERM otherwise. srun gives the highest code of all ranks, which is 143
    for those that were ended because of another one.
    """
    facts, status = evidence.facts, evidence.status
    code, step = evidence.exit_code, log_patterns.first_step(log)[1]
    signal = code - 128 if code is not None and 128 < code < 160 else None
    if code is None and facts is not None:  # accounting shows 137 as 9
        signal = _number(facts.signal) or _number(facts.exit_code)
    reason = str(status.get("reason") or "") if _is_new(status.get("heartbeat"), evidence) else ""
    if code == 130 or (status.get("state") == "waiting" and reason.startswith("interrupted")):
        warned = "SIGUSR2" in reason or any("asked to stop by SIGUSR2" in line for _, lines in log for line in lines)
        return "time-limit" if warned else "preempted"
    return (
        "killed" if step.startswith("Killed") or (signal in (9, 15, 137, 143) and not step.startswith("Exited")) else ""
    )


def _noted(evidence: Evidence) -> str:
    """The class that the node noted when the run died; it may have known more than is left now."""
    last = evidence.attempts[-1] if evidence.attempts else {}
    name = str(last.get("class")) if isinstance(last, Mapping) else ""
    return name if name in FAILURE_CLASSES and name != "unknown" and _is_new(last.get("time"), evidence) else ""


def _accounted(facts: JobFacts | None) -> str:
    """SLURM also calls a job cancelled that it took out because a job it depended on had failed: nobody did that."""
    name = ACCOUNTED.get(_state(facts), "")
    return "" if name == "cancelled" and facts is not None and "Dependency" in str(facts.reason) else name


def _accounting_line(facts: JobFacts | None) -> str:
    if facts is None or not facts.state:
        return ""
    code = f", exit code {facts.exit_code}" if facts.exit_code else ""
    signal = f", signal {facts.signal}" if facts.signal else ""
    why = f" ({facts.reason})" if facts.reason not in ("", "None", None) else ""
    return f"SLURM: job {facts.job} {facts.state}{f' on {facts.node}' if facts.node else ''}{code}{signal}{why}"


def _state(facts: JobFacts | None) -> str:
    """First word, upper case: "CANCELLED by 1000" and "CANCELLED+" are CANCELLED."""
    words = str(facts.state or "").upper().split() if facts is not None else []
    return words[0].rstrip("+") if words else ""


def _is_new(stamp: Any, evidence: Evidence) -> bool:
    """True unless it is known to be older than this attempt; clocks count whole seconds."""
    at = _epoch(stamp)
    return at is None or at + 1 >= evidence.since


def _epoch(stamp: Any, zone: tzinfo | None = UTC) -> float | None:
    """Seconds since the epoch of a number, or of an ISO time; without a zone it is of `zone` (None: ours)."""
    if isinstance(stamp, int | float) and not isinstance(stamp, bool):
        return float(stamp)
    try:
        at = datetime.fromisoformat(str(stamp))
        return (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def gather_evidence(run: RunFolder, facts: JobFacts | None, exit_code: int | None = None) -> Evidence:
    """Everything a run folder and its submission's folder hold about the newest attempt. Missing files are no error."""
    from c2d.core.errors import InputError
    from c2d.core.job_file import read_attempts, read_job

    job = read_job(run)
    try:
        status = run.read_status()
    except (InputError, OSError):  # damaged: the other evidence has to do
        status = {}
    status = status if isinstance(status, dict) else {}
    submitted = (_epoch(job.submitted) if job is not None else None) or 0.0
    started = (_epoch(facts.started, zone=None) if facts is not None else None) or 0.0
    since = max(submitted, started if started <= time.time() else 0.0)  # not where the cluster's zone is another
    ranks = [value for path in sorted(run.ranks.glob("*.json")) if (value := _json(path)) is not None]
    log = log_patterns.read_logs(run, job, max(since, _epoch(status.get("begun")) or 0.0))
    return Evidence(status, read_attempts(run), facts, exit_code, log, ranks, since)


def _json(path: Path) -> dict[str, Any] | None:
    import json

    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
