"""What a log says about a death: the signs of SLURM, of the kernel and of the program, and the lines worth reading.

Standard library only, like `triage`, which asks it; only `read_logs` looks at the disk. A log is text; where several
ranks wrote one each, every part stands under a line `==> rank N <==`.
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

if TYPE_CHECKING:
    from c2d.core.job_file import Job

BEGINS = "c2d attempt begins"
"""What a job says first. SLURM appends, so one log holds all lives of a requeued job; this is where one starts."""
ANEW = (BEGINS, "Starting with JobEnvironment(", "DUE TO JOB REQUEUE")
SHOWN, WIDTH, LONGEST = 5, 200, 1000
Part = tuple[int | None, list[str]]  # (rank, its lines)

SYSTEM = (  # SLURM, the kernel and submitit about the whole job
    ("host-oom", r"oom[-_ ]kill|task[s ].*: Out Of Memory|exceeded (job |step )?memory limit"),
    ("time-limit", r"DUE TO TIME LIMIT|this job is timed-out"),
    ("preempted", r"DUE TO PREEMPTION|this job is preempted"),
    ("node-failure", r"DUE TO NODE FAIL|uncorrectable ECC error|GPU has fallen off the bus"),
    ("cancelled", r"\*\*\* JOB \S+ ON \S+ CANCELLED AT \S+ \*\*\*"),
)
ERRORS = (  # the last line of an exception, or a program's own
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
HANG = (
    r"Watchdog caught collective operation timeout|Timed out waiting \d+ ?ms|wait timeout after \d+ ?ms|DistStoreError"
)
CASCADE = (  # what a rank says after another one died
    HANG + r"|Connection reset by peer|Connection closed by peer|Broken pipe|NCCL communicator was aborted"
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


def match(signs: Iterable[tuple[str, str]], text: str) -> str:
    """The first class whose sign is in the text, or ""."""
    return next((name for name, sign in signs if re.search(sign, text)), "")


def is_cascade(text: str) -> bool:
    """True for what a rank says when another one is gone."""
    return re.search(CASCADE, text) is not None


def parts(text: str, begun: float = 0.0) -> list[Part]:
    """The newest attempt's lines of every rank; `begun` as in `newest`."""
    found: list[Part] = [(None, [])]
    for line in text.split("\n"):
        if header := re.fullmatch(r"==> rank (\d{1,6}) <==", line):
            found.append((int(header[1]), []))
        else:
            found[-1][1].append(line)
    cut = [(rank, newest(lines, begun)) for rank, lines in found]
    return [(rank, lines) for rank, lines in cut if any(lines)]


def newest(lines: Iterable[str], begun: float = 0.0) -> list[str]:
    """Lines of the newest attempt. A progress bar's line is what its last carriage return left.

    Args:
        begun: seconds since the epoch; a line that bears an earlier time is of an earlier attempt, with all before it.
    """
    kept: list[str] = []
    for raw in lines:
        line = raw.rstrip().rsplit("\r", 1)[-1][:LONGEST]
        if any(sign in line for sign in ANEW) or _before(line, begun):
            kept.clear()
        else:
            kept.append(line)
    return kept


def _before(line: str, begun: float) -> bool:
    """Log lines have no zone: their clock is taken for that of this machine."""
    at = _STAMP.search(line)
    try:
        return at is not None and datetime.fromisoformat(at[1] or at[2]).timestamp() + 1 < begun
    except (ValueError, OverflowError):
        return False


def system_sign(found: list[Part]) -> str:
    """Memory first, as a job over its memory is cancelled as well; of the others the last one counts."""
    names = [name for _, lines in found for line in lines if (name := match(SYSTEM, line))]
    return "host-oom" if "host-oom" in names else names[-1] if names else ""


def error_sign(found: list[Part]) -> tuple[str, int | None]:
    """(class, rank) of the error that ended the program; user-code for an exception that carries no sign."""
    best: tuple[str, int | None] = ("", None)
    for rank, lines in found:
        for own, line in _endings(lines, rank):
            if is_cascade(line):
                continue
            noted = _OWN.search(line)
            name = noted[1] if noted and noted[1] in FAILURE_CLASSES else match(ERRORS, line)
            if name not in ("", "user-code", "unknown"):
                return name, own
            if not best[0] and (noted or _RAISED.match(line)):
                best = ("user-code" if name != "unknown" else "", own)
    return best


def _endings(lines: list[str], rank: int | None) -> Iterator[tuple[int | None, str]]:
    """(rank, line) of what may have ended a program, the last first.

    Where there is a traceback, only exceptions and c2d's own word count: a warning that something could not be imported
    is no end. torch writes `[rank1]: ` before the lines of a rank.
    """
    plain = []
    for line in lines:
        own = _RANK.match(line)
        plain.append((int(own[1]) if own else rank, line[own.end() :] if own else line))
    if any(line.startswith("Traceback (most recent call last)") for _, line in plain):
        plain = [(own, line) for own, line in plain if _RAISED.match(line) or _OWN.search(line)]
    yield from reversed(plain)


def hangs(found: list[Part]) -> bool:
    return any(re.search(HANG, line) for _, lines in found for line in lines)


def first_step(found: list[Part]) -> tuple[int | None, str]:
    """(task, its end) that srun names first: it left first, and the others were ended because of it."""
    steps = (step for _, lines in found for line in lines if (step := _STEP.search(line)))
    first = next(steps, None)
    return (int(first[1]), first[2]) if first else (None, "")


def silent_rank(found: list[Part]) -> int | None:
    """In a hang, the lowest rank that has a log and complains of nobody."""
    waiting = set()
    for rank, lines in found:
        for line in lines:
            if re.search(HANG, line):
                named = _NAMED.search(line)
                waiting.add(int(named[1]) if named else rank)
    silent = {rank for rank, _ in found if rank is not None} - waiting
    return min(silent) if silent and waiting else None


def telling(found: list[Part], rank: int | None, said: str = "") -> list[str]:
    """The last lines worth reading, oldest first: those of `rank` if it has a log, then `said`; at most SHOWN."""
    own = [lines for number, lines in found if number == rank] if rank is not None else []
    every = [line.strip()[:WIDTH] for lines in (own or [lines for _, lines in found]) for line in lines]
    kept = [line for line in every if line and not _NOISE.search(line)]
    if any(not is_cascade(line) for line in kept):
        kept = [line for line in kept if not is_cascade(line)]
    if said := " ".join(said.split())[:WIDTH]:
        kept = [*(line for line in kept if said not in line), said]
    return kept[-SHOWN:]


def read_logs(run: RunFolder, job: Job | None, begun: float) -> str:
    """The ends of all ranks' logs, the newest attempt of each; of log.txt where the launcher kept none."""
    logs: dict[int, list[Path]] = {}
    folder = Path(job.folder) if job is not None and job.folder else None
    if job is not None and folder is not None and job.job is not None:
        for path in sorted(folder.glob(f"{job.job}_*_log.*"), key=lambda path: path.suffix, reverse=True):
            if named := re.fullmatch(rf"{re.escape(job.job)}_(\d{{1,6}})_log\.(out|err)", path.name):
                logs.setdefault(int(named[1]), []).append(path)  # out first: err tells more, so it comes last
    elif folder is not None:
        logs = {0: [folder / f"{run.id}.out"]}
    texts = {}
    for rank, paths in logs.items():
        lines = [line for path in paths for line in newest(read_log_tail(path), begun)]
        if any(lines):
            texts[rank] = "\n".join(lines)
    if len(texts) < 2:
        return next(iter(texts.values()), "\n".join(read_log_tail(run.log)))
    return "\n".join(f"==> rank {rank} <==\n{text}" for rank, text in sorted(texts.items()))
