"""Patterns of SLURM, of the kernel and of the program in the logs of a failed run, and the lines worth reading.

Standard library only, as `diagnose` needs; only `read_logs` reads files. A log is text; where several ranks wrote one
each, the lines of each follow a line `==> rank N <==`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from c2d.core.failure_classes import FAILURE_CLASSES
from c2d.core.regular_file import read_log_tail
from c2d.core.run_folder import RunFolder
from sweeps.failures.log_paths import job_logs, local_log

if TYPE_CHECKING:
    from c2d.core.job_file import Job

ATTEMPT_START = "c2d attempt begins"
"""First line of an attempt. SLURM appends, so one log holds all starts of a requeued job."""
START_PATTERNS = (ATTEMPT_START, "Starting with JobEnvironment(", "DUE TO JOB REQUEUE")
SHOWN_LINES, SHOWN_WIDTH, LINE_WIDTH = 5, 200, 1000
RankLines = tuple[int | None, list[str]]
"""(rank, its lines); None where one log holds all ranks."""

SYSTEM_PATTERNS = (  # SLURM, the kernel and submitit about the whole job
    ("host-oom", r"oom[-_ ]kill|task[s ].*: Out Of Memory|exceeded (job |step )?memory limit"),
    ("time-limit", r"DUE TO TIME LIMIT|this job is timed-out"),
    ("preempted", r"DUE TO PREEMPTION|this job is preempted"),
    ("node-failure", r"DUE TO NODE FAIL|uncorrectable ECC error|GPU has fallen off the bus"),
    ("cancelled", r"\*\*\* JOB \S+ ON \S+ CANCELLED AT \S+ \*\*\*"),
)
ERROR_PATTERNS = (  # the last line of an exception, or a program's own
    (
        "cuda-oom",
        r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|CUDA error: out of memory",
    ),
    (
        "host-oom",
        r"\bMemoryError\b|Cannot allocate memory|can't allocate memory|out of shared memory"
        r"|DataLoader worker .*killed by signal: Killed",
    ),
    ("disk", r"No space left on device|Disk quota exceeded|Errno (28|122)\b|Read-only file system"),
    (
        "import",
        r"\bModuleNotFoundError\b|\bImportError\b|undefined symbol|cannot open shared object file"
        r"|python[\d.]*: (command not found|No such file)",
    ),
    ("nan", r"(loss|weights?|gradients?)\b.*\b(is|are) not finite"),
)
HANG_PATTERN = (
    r"Watchdog caught collective operation timeout|Timed out waiting \d+ ?ms|wait timeout after \d+ ?ms|DistStoreError"
)
CASCADE_PATTERN = (  # errors of a rank after another one died
    HANG_PATTERN + r"|Connection reset by peer|Connection closed by peer|Broken pipe|NCCL communicator was aborted"
    r"|Socket Timeout|remote process exited|ncclRemoteError|Connection refused"
)
_OWN = re.compile(r"\bfailed \(([a-z-]+)\): ")  # c2d's own last line
_STEP = re.compile(r"srun: error: \S+ task (\d{1,6}): (.*)")
_RANK = re.compile(r"\[rank(\d{1,6})\]:? ?")
_NAMED = re.compile(r"\[?[Rr]ank ?(\d{1,6})\]?")
_STAMP = re.compile(r"CANCELLED AT (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)|^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ")
_RAISED = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Exit|Timeout|Corrupt)(:|$)")
_NOISE = re.compile(
    r"\d{1,3}%\||\d{1,3}%[ ,]|\bit/s|\bs/it|━|^[-=*]+$|^[~^\s]+$|^Traceback |submitit INFO|Bypassing signal"
    r"|srun: (got SIGCONT|forc|Force|Job step aborted)|Terminating StepId"
)


def first_match(patterns: Iterable[tuple[str, str]], text: str) -> str:
    """Return the first class whose pattern is in the text, or ""."""
    return next((name for name, pattern in patterns if re.search(pattern, text)), "")


def is_cascade(text: str) -> bool:
    """Return whether a line is an error that follows the end of another rank."""
    return re.search(CASCADE_PATTERN, text) is not None


def split_ranks(text: str, begun: float = 0.0) -> list[RankLines]:
    """Return the lines of every rank in its newest attempt; `begun` as in `newest_attempt`."""
    found: list[RankLines] = [(None, [])]
    for line in text.split("\n"):
        if header := re.fullmatch(r"==> rank (\d{1,6}) <==", line):
            found.append((int(header[1]), []))
        else:
            found[-1][1].append(line)
    cut = [(rank, newest_attempt(lines, begun)) for rank, lines in found]
    return [(rank, lines) for rank, lines in cut if any(lines)]


def newest_attempt(lines: Iterable[str], begun: float = 0.0) -> list[str]:
    """Return the lines of the newest attempt; of the line of a progress bar, what a terminal shows last.

    Args:
        begun: seconds since the epoch. A line with an earlier time belongs to an earlier attempt, as do all before it.
    """
    kept: list[str] = []
    for raw in lines:
        line = raw.rstrip().rsplit("\r", 1)[-1][:LINE_WIDTH]
        if any(pattern in line for pattern in START_PATTERNS) or _is_earlier(line, begun):
            kept.clear()
        else:
            kept.append(line)
    return kept


def _is_earlier(line: str, begun: float) -> bool:
    """Return whether a line has an earlier time. Log lines have no zone: this machine's is taken."""
    at = _STAMP.search(line)
    try:
        # Times in a log are cut to whole seconds.
        return at is not None and datetime.fromisoformat(at[1] or at[2]).timestamp() + 1 < begun
    except (ValueError, OverflowError):
        return False


def system_class(found: list[RankLines]) -> str:
    """Return the class that SLURM or the kernel reports, or "".

    Memory first, because SLURM also cancels a job over its memory; of the others the last one counts.
    """
    names = [name for _, lines in found for line in lines if (name := first_match(SYSTEM_PATTERNS, line))]
    return "host-oom" if "host-oom" in names else names[-1] if names else ""


def error_class(found: list[RankLines]) -> tuple[str, int | None]:
    """Return (class, rank) of the error that ended the program; user-code for an exception without a pattern."""
    best: tuple[str, int | None] = ("", None)
    for rank, lines in found:
        for own, line in _final_errors(lines, rank):
            if is_cascade(line):
                continue
            noted = _OWN.search(line)
            name = noted[1] if noted and noted[1] in FAILURE_CLASSES else first_match(ERROR_PATTERNS, line)
            if name not in ("", "user-code", "unknown"):
                return name, own
            if not best[0] and (noted or _RAISED.match(line)):
                best = ("user-code" if name != "unknown" else "", own)
    return best


def _final_errors(lines: list[str], rank: int | None) -> Iterator[tuple[int | None, str]]:
    """Yield (rank, line) of what may have ended a program, the last first.

    Where there is a traceback, only exceptions and c2d's own last line count: a warning that something could not be
    imported ended nothing. torch writes `[rank1]: ` before the lines of a rank.
    """
    plain = []
    for line in lines:
        own = _RANK.match(line)
        plain.append((int(own[1]) if own else rank, line[own.end() :] if own else line))
    if any(line.startswith("Traceback (most recent call last)") for _, line in plain):
        plain = [(own, line) for own, line in plain if _RAISED.match(line) or _OWN.search(line)]
    yield from reversed(plain)


def has_hang(found: list[RankLines]) -> bool:
    """Return whether a rank waited for another one until a time-out."""
    return any(re.search(HANG_PATTERN, line) for _, lines in found for line in lines)


def first_failed_step(found: list[RankLines]) -> tuple[int | None, str]:
    """Return (task, how it ended) that srun names first; the other tasks were ended because of it."""
    steps = (step for _, lines in found for line in lines if (step := _STEP.search(line)))
    first = next(steps, None)
    return (int(first[1]), first[2]) if first else (None, "")


def silent_rank(found: list[RankLines]) -> int | None:
    """Return the lowest rank that has a log and reports no time-out in a hang."""
    waiting = set()
    for rank, lines in found:
        for line in lines:
            if re.search(HANG_PATTERN, line):
                named = _NAMED.search(line)
                waiting.add(int(named[1]) if named else rank)
    silent = {rank for rank, _ in found if rank is not None} - waiting
    return min(silent) if silent and waiting else None


def key_lines(found: list[RankLines], rank: int | None, message: str = "") -> list[str]:
    """Return the last lines worth reading, oldest first.

    Args:
        rank: only its lines, if it has a log.
        message: shown last, unless a line contains it.
    """
    own = [lines for number, lines in found if number == rank] if rank is not None else []
    every = [line.strip()[:SHOWN_WIDTH] for lines in (own or [lines for _, lines in found]) for line in lines]
    kept = [line for line in every if line and not _NOISE.search(line)]
    if any(not is_cascade(line) for line in kept):
        kept = [line for line in kept if not is_cascade(line)]
    if message := " ".join(message.split())[:SHOWN_WIDTH]:
        kept = [*(line for line in kept if message not in line), message]
    return kept[-SHOWN_LINES:]


def read_logs(run: RunFolder, job: Job | None, begun: float) -> str:
    """Return the last lines of the logs of all ranks, of the newest attempt; of log.txt where the launcher has none."""
    logs: dict[int, list[Path]] = {}
    if job is not None and job.folder:
        folder = Path(job.folder)
        logs = {0: [local_log(folder, run.id)]} if job.job is None else job_logs(folder, job.job)
    texts = {}
    for rank, paths in logs.items():
        lines = [line for path in paths for line in newest_attempt(read_log_tail(path), begun)]
        if any(lines):
            texts[rank] = "\n".join(lines)
    if len(texts) < 2:
        return next(iter(texts.values()), "\n".join(read_log_tail(run.log)))
    return "\n".join(f"==> rank {rank} <==\n{text}" for rank, text in sorted(texts.items()))
