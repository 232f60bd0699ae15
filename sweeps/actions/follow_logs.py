"""Follow the logs of a run until it ends: across requeues, new launches, rotated files and files that appear later."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from c2d.core.run_folder import RunFolder
from sweeps.actions.run_logs import READ_BYTES, LogFile, log_files, shown_line

POLL_S = 1.0
STATE_S = 15.0
"""Seconds between two questions whether the run has ended, which may ask SLURM."""
PrintLine = Callable[[str], None]


@dataclass
class _Reader:
    """How far one file was read.

    Attributes:
        inode: another one, or a file that became shorter, was replaced and is read from its begin.
        rest: bytes of a line that has not ended yet.
    """

    log: LogFile
    offset: int = 0
    inode: int = 0
    rest: bytes = field(default=b"", repr=False)

    def new_lines(self) -> list[str]:
        """Return the lines since the last call; a progress bar is the line that it shows now."""
        try:
            found = os.stat(self.log.path)
        except OSError:
            return []
        lines: list[str] = []
        if self.inode not in (0, found.st_ino) or found.st_size < self.offset:
            lines.append(f"--- {self.log.path} was replaced or cut off; it is read from its begin")
            self.offset, self.rest = 0, b""
        self.inode = found.st_ino
        if found.st_size - self.offset > 8 * READ_BYTES:
            lines.append(f"--- {found.st_size - self.offset - READ_BYTES} bytes of {self.log.path} are left out")
            self.offset, self.rest = found.st_size - READ_BYTES, b""
        if found.st_size == self.offset:
            return lines
        with self.log.path.open("rb") as stream:
            stream.seek(self.offset)
            text = stream.read(found.st_size - self.offset)
        self.offset += len(text)
        *whole, self.rest = (self.rest + text).split(b"\n")
        lines += [shown_line(line) for line in whole]
        if b"\r" in self.rest or len(self.rest) > READ_BYTES:
            lines.append(shown_line(self.rest))
            self.rest = b""
        return [line for line in lines if line]

    def last_line(self) -> list[str]:
        """Return what follows the last line break."""
        rest, self.rest = self.rest, b""
        return [shown_line(rest)] if rest else []


def follow(
    run: RunFolder,
    runs: Path,
    read: dict[Path, int],
    has_ended: Callable[[], bool],
    print_line: PrintLine,
    rank: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Print new lines of a run's logs until it has ended and its files are read.

    Args:
        read: {log: bytes of it that were printed already}. Other files are printed from their begin when they appear.
        has_ended: whether no process and no job writes the run any more. It is called every STATE_S seconds.
        print_line: called with each line, after the path of its file when that differs from the last one.
        rank: only this one of a job; None: all.
        sleep: replaced in tests.
    """
    readers: dict[Path, _Reader] = {}
    shown: Path | None = None
    since = POLL_S + STATE_S
    while True:
        since += POLL_S
        ended = since > STATE_S and has_ended()
        since = 0.0 if since > STATE_S else since
        for log in log_files(run, runs):
            if (rank is None or log.rank in (None, rank)) and log.path not in readers:
                readers[log.path] = _Reader(log, read.get(log.path, 0))
        for reader in readers.values():
            lines = [*reader.new_lines(), *(reader.last_line() if ended else [])]
            if lines and reader.log.path != shown:
                shown = reader.log.path
                print_line(f"==> {reader.log.title}")
            for line in lines:
                print_line(line)
        if ended:
            return
        sleep(POLL_S)
