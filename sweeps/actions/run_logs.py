"""The logs of one run: the output of all its launches, by rank and attempt, and the log of its training. Only reads.

A log may have any size and any content: at most READ_BYTES of an attempt are read from its end, and lines are shown as
a terminal can show them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from c2d.core.job_file import read_job
from c2d.core.printable import printable_text
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from sweeps.failures.log_paths import job_logs, local_log, main_log
from sweeps.failures.log_patterns import ATTEMPT_START
from sweeps.launchers import submission
from sweeps.scheduler import array_file
from sweeps.state.plan import Row

READ_BYTES = 1 << 20
"""Most bytes of an attempt that are read for its last lines."""
COUNTED_BYTES = 1 << 28
"""In more than this only the newest attempt is looked for, at the end; how many there are stays unknown."""
BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class LogFile:
    """One file of output.

    Attributes:
        source: `job 123_4`, `local` or `training`.
        rank: of a job; None for the log of the training, which the first rank writes.
        attempts: whether the file marks the begin of each attempt.
    """

    path: Path
    source: str
    rank: int | None = None
    attempts: bool = True

    @property
    def title(self) -> str:
        """The path, with what it holds."""
        return f"{self.path} ({self.source}{f', rank {self.rank}' if self.rank else ''})"


@dataclass(frozen=True)
class LogPart:
    """The bytes of one attempt in a file: from `start` to `end`; None: to the end of the file, also when it grows."""

    log: LogFile
    start: int = 0
    end: int | None = None


def log_files(run: RunFolder, runs: Path) -> list[LogFile]:
    """Return the logs of a run that exist: of its launches, oldest first, each rank by rank; then of its training."""
    found: list[tuple[float, int, LogFile]] = []
    for folder in _submissions(run, runs):
        for log in _logs_of_submission(run, folder):
            try:
                # The first write of the file, which no requeue changes, is not known: the order of folders is that of
                # their script, or of their first file.
                found.append((_written(folder), log.rank or 0, log))
            except OSError:
                continue
    logs = [log for _, _, log in sorted(found, key=lambda one: one[:2])]
    return [*logs, LogFile(run.log, "training", None, False)] if run.log.is_file() else logs


def path_line(row: Row) -> str:
    """Return the state of a run, its id and the log to read first, or why it has none."""
    return f"{row.state:8} {row.run.id}  {main_log(row.run, row.job) or f'no log yet: {row.reason}'}"


def _submissions(run: RunFolder, runs: Path) -> Iterator[Path]:
    """Yield the folders of all submissions that launched a run, of every sweep of the store."""
    job = read_job(run)
    seen = set()
    if job is not None and job.folder:
        seen.add(Path(job.folder))
        yield Path(job.folder)
    for path in RunStore(runs).sweeps.glob("*/*/"):
        is_local = local_log(path, run.id).is_file()
        if path not in seen and (is_local or any(member.id == run.id for member in submission.read_folders(path))):
            yield path


def _logs_of_submission(run: RunFolder, folder: Path) -> Iterator[LogFile]:
    if (path := local_log(folder, run.id)).is_file():
        yield LogFile(path, "local")
    facts, members = array_file.read_array(folder), submission.read_folders(folder)
    job = read_job(run)
    last = job.job if job is not None and job.job is not None and Path(job.folder) == folder else None
    for task, member in enumerate(members):
        number = submission.job_id(str(facts["job"]), task, len(members)) if facts else last
        if member.id == run.id and number is not None:
            for rank, paths in job_logs(folder, number).items():
                yield from (LogFile(path, f"job {number}", rank) for path in paths)


def _written(folder: Path) -> float:
    script = folder / submission.SCRIPT
    if script.exists():
        return script.stat().st_mtime
    return min((path.stat().st_mtime for path in folder.iterdir()), default=0.0)


def attempt_parts(logs: list[LogFile], attempt: int | None) -> tuple[list[LogPart], int]:
    """Return the parts of an attempt and the number of attempts, 0 where the files are too large to count them.

    Attempts are counted from 1 over all launches of the run, by the lines that the first rank writes when it begins;
    what a job prints before belongs to the attempt that follows. Files are read in blocks, whatever their size.

    Args:
        logs: see `log_files`.
        attempt: from 1; None: the newest one, which is the newest launch of each rank, and the log of the training.
    """
    own = [log for log in logs if log.attempts]
    sources = list(dict.fromkeys(log.source for log in own))
    if attempt is None and sum(log.path.stat().st_size for log in own) > COUNTED_BYTES:
        newest = [LogPart(log, _newest_start(log.path)) for log in own if log.source == sources[-1]]
        return [*newest, *(LogPart(log) for log in logs if not log.attempts)], 0
    parts: list[LogPart] = []
    count = 0
    for source in sources:
        starts = {log: attempt_starts(log.path) for log in own if log.source == source}
        for log, found in starts.items():
            is_newest = attempt is None and source == sources[-1]
            place = len(found) - 1 if is_newest else (attempt or 0) - count - 1
            if 0 <= place < len(found):
                parts.append(LogPart(log, found[place], [*found[1:], None][place]))
        count += max(len(found) for found in starts.values())
    if attempt is None:
        parts += [LogPart(log) for log in logs if not log.attempts]
    return parts, count


def _newest_start(path: Path) -> int:
    """Return where the newest attempt begins, if that is within the last READ_BYTES; else where these begin."""
    with path.open("rb") as stream:
        begin = max(0, stream.seek(0, 2) - READ_BYTES)
        stream.seek(begin)
        return begin + max(0, stream.read(READ_BYTES).rfind(ATTEMPT_START.encode()))


def attempt_starts(path: Path) -> list[int]:
    """Return where the attempts of a file begin, in bytes: 0, and each line that begins one, but for the first."""
    mark, found, at, tail = ATTEMPT_START.encode(), list[int](), 0, b""
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            text, base = tail + block, at - len(tail)
            place = text.find(mark)
            while place >= 0:
                found.append(base + place)
                place = text.find(mark, place + len(mark))
            at += len(block)
            tail = text[-len(mark) + 1 :]
    return [0, *found[1:]]


def last_lines(part: LogPart, lines: int) -> list[str]:
    """Return the last lines of a part as a terminal can show them."""
    with part.log.path.open("rb") as stream:
        end = stream.seek(0, 2) if part.end is None else part.end
        begin = max(part.start, end - READ_BYTES)
        stream.seek(begin)
        text = stream.read(max(0, end - begin))
    found = text.split(b"\n")
    if begin > part.start and len(found) > 1:  # cut off at its begin
        found = found[1:]
    if found[-1] == b"":
        found.pop()
    return [shown_line(line) for line in found[-lines:]] if lines else []


def shown_line(raw: bytes) -> str:
    r"""Return a line as a terminal can show it: the last state of a progress bar, no codes, 2,000 characters at most.

    >>> shown_line(b"10%\r50%\r\n"), shown_line(b"\ta\x1b[31mb\x1b[0m")
    ('50%', '        ab')
    """
    text = raw.rstrip(b"\r\n").rpartition(b"\r")[2].decode(errors="replace").expandtabs(8)
    # Colours, and titles of windows; what is left of other codes is escaped.
    return printable_text(re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)", "", text[:2000]))
