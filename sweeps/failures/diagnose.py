"""Diagnose why a run failed: from its own record, from SLURM's accounting and from patterns in its log.

`diagnose` is pure and needs the standard library alone: the batch script calls it on the node, within the last seconds
of a job. A failure without a known pattern stays `unknown`; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from c2d.core.failure_classes import FAILURE_CLASSES
from c2d.core.masking import mask_text
from sweeps.failures import log_patterns
from sweeps.failures.evidence import Evidence, epoch

if TYPE_CHECKING:
    from sweeps.scheduler.queue import JobFacts

CLASS_OF_JOB_STATE = {
    "OUT_OF_MEMORY": "host-oom",
    "TIMEOUT": "time-limit",
    "NODE_FAIL": "node-failure",
    "BOOT_FAIL": "node-failure",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
}
"""Job states of SLURM that are a failure class by themselves; FAILED is not."""

WEAK_CLASSES = ("user-code", "killed", "unknown")
"""Recorded by a process that saw the end and not its reason; better evidence is preferred."""
WHOLE_JOB_CLASSES = ("preempted", "time-limit", "node-failure", "cancelled")
"""They end all ranks at once, so no rank failed first."""


@dataclass(frozen=True)
class Diagnosis:
    """The failure class of a run with the evidence for it.

    Attributes:
        failure_class: a key of FAILURE_CLASSES.
        rank: the first rank that failed; None if unknown.
        lines: at most five lines of evidence, oldest first.
        suggestion: that of the failure class.
    """

    failure_class: str
    rank: int | None
    lines: list[str]
    suggestion: str


def diagnose(evidence: Evidence) -> Diagnosis:
    """Return the failure class, the first rank that failed and the lines that show it. Damaged evidence is ignored."""
    begun = epoch(evidence.status.get("begun")) or 0.0
    log = log_patterns.split_ranks(evidence.log_tail, max(begun, evidence.since))
    first = _first_rank(evidence)
    recorded, message = _recorded(evidence, first)
    of_job, system = _class_of_job(evidence.facts), log_patterns.system_class(log)
    error, error_rank = log_patterns.error_class(log)
    of_exit = _class_of_exit(evidence, log)
    was_killed = log_patterns.first_failed_step(log)[1].startswith("Killed")
    if was_killed and recorded == "hang":  # srun names the rank that was killed; the others waited for it
        recorded = ""
    candidates = (  # the most reliable first; weak classes of the run itself after SLURM and the kernel
        recorded if recorded not in WEAK_CLASSES else "",
        "host-oom" if system == "host-oom" else "",  # SLURM may call a job cancelled that it killed for its memory
        of_job,
        system,
        error if error not in WEAK_CLASSES and recorded == "killed" else "",
        "killed" if was_killed and not recorded else "",
        recorded if recorded != "unknown" else "",
        error,
        "hang" if log_patterns.has_hang(log) or re.search(log_patterns.HANG_PATTERN, message) else "",
        _class_in_attempts(evidence),
        of_exit,
    )
    found = next((name for name in candidates if name), "unknown")
    if found in WHOLE_JOB_CLASSES:
        rank = None
    elif first is not None:
        rank = _number(first.get("rank"))
    elif found == error and error_rank is not None:
        rank = error_rank
    else:
        rank = log_patterns.first_failed_step(log)[0]
        if rank is None and found == "hang":
            rank = log_patterns.silent_rank(log)
    shown = message if found == recorded else ""
    if not shown and found not in (system, error, "hang"):
        shown = _accounting_line(evidence.facts)
    lines = log_patterns.key_lines(log, rank, shown)
    if not lines and evidence.exit_code is not None:
        lines = [f"the job's command ended with exit code {evidence.exit_code}"]
    return Diagnosis(found, rank, [mask_text(line) for line in lines], FAILURE_CLASSES[found].suggestion)


def _recorded(evidence: Evidence, first: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return (class, message) that the run recorded itself; ("", "") if it recorded nothing.

    The record of its first failed rank is preferred to status.json. An exception without a failure class is recorded as
    user-code, and its message may hold a pattern. An error that follows the end of another rank gives no reason.
    """
    status = evidence.status
    if first is not None:
        name, message = str(first.get("class") or "unknown"), str(first.get("line") or "")
    elif status.get("state") == "failed" and status.get("failure_class") and evidence.is_new(status.get("heartbeat")):
        name, message = str(status["failure_class"]), str(status.get("error") or status.get("reason") or "")
    else:
        return "", ""
    name = name if name in FAILURE_CLASSES else "unknown"
    if name in ("user-code", "unknown"):
        by_message = log_patterns.first_match(log_patterns.ERROR_PATTERNS, message)
        name = "" if log_patterns.is_cascade(message) else by_message or name
    return name, message


def _first_rank(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the record of the rank that failed first in the newest start, and not because another one had ended."""
    new = [rank for rank in evidence.ranks if isinstance(rank, Mapping) and evidence.is_new(rank.get("time"))]
    if not new:
        return None

    def when(rank: Mapping[str, Any]) -> tuple[float, int]:
        return epoch(rank.get("time")) or 0.0, _number(rank.get("rank")) or 0

    start = max(new, key=when).get("start")
    roots = [
        rank for rank in new if rank.get("start") == start and not log_patterns.is_cascade(str(rank.get("line") or ""))
    ]
    return min(roots, key=when, default=None)


def _class_of_exit(evidence: Evidence, log: list[log_patterns.RankLines]) -> str:
    """Return the class that follows from the exit code, or "". With 130 the run was stopped by a signal and saved.

    SLURM sends USR2 before the time limit, and TERM otherwise. srun gives the highest code of all ranks, which is 143
    for those that were ended because of another one.
    """
    facts, status = evidence.facts, evidence.status
    code, step = evidence.exit_code, log_patterns.first_failed_step(log)[1]
    signal = code - 128 if code is not None and 128 < code < 160 else None
    if code is None and facts is not None:  # accounting shows 137 as 9
        signal = _number(facts.signal) or _number(facts.exit_code)
    reason = str(status.get("reason") or "") if evidence.is_new(status.get("heartbeat")) else ""
    if code == 130 or (status.get("state") == "waiting" and reason.startswith("interrupted")):
        warned = "SIGUSR2" in reason or any("asked to stop by SIGUSR2" in line for _, lines in log for line in lines)
        return "time-limit" if warned else "preempted"
    by_signal = signal in (9, 15, 137, 143) and not step.startswith("Exited")
    return "killed" if by_signal or step.startswith("Killed") else ""


def _class_in_attempts(evidence: Evidence) -> str:
    """Return the class that the node recorded when the job ended, or ""; more evidence existed then."""
    last = evidence.attempts[-1] if evidence.attempts else {}
    name = str(last.get("class")) if isinstance(last, Mapping) else ""
    return name if name in FAILURE_CLASSES and name != "unknown" and evidence.is_new(last.get("time")) else ""


def _class_of_job(facts: JobFacts | None) -> str:
    """Return the class of the job state, or "". A job that SLURM cancelled for a failed dependency has none."""
    name = CLASS_OF_JOB_STATE.get(_state(facts), "")
    return "" if name == "cancelled" and facts is not None and "Dependency" in str(facts.reason) else name


def _accounting_line(facts: JobFacts | None) -> str:
    if facts is None or not facts.state:
        return ""
    code = f", exit code {facts.exit_code}" if facts.exit_code else ""
    signal = f", signal {facts.signal}" if facts.signal else ""
    why = f" ({facts.reason})" if facts.reason not in ("", "None", None) else ""
    return f"SLURM: job {facts.job} {facts.state}{f' on {facts.node}' if facts.node else ''}{code}{signal}{why}"


def _state(facts: JobFacts | None) -> str:
    """Return the first word in upper case: "CANCELLED by 1000" and "CANCELLED+" are CANCELLED."""
    words = str(facts.state or "").upper().split() if facts is not None else []
    return words[0].rstrip("+") if words else ""


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
