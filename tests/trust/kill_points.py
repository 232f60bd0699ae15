"""A process that kills itself at a chosen file operation, or at a chosen call of a function, of a chosen phase.

`Watch` is installed in a forked child. It counts the file operations below one folder (open for writing, write, fsync,
rename, unlink, mkdir) and the calls of Python functions by phase, so that a moment can be chosen by number: before a
file operation, after it, with half of a write on the disk, or between. Kills, saved checkpoints and steps are noted
in a file first.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

Moment = Literal["before", "half", "after", "call"]


class KillPoint(NamedTuple):
    """The moment of a kill.

    Attributes:
        phase: in which it is meant to fall.
        moment: before or after a file operation, with `half` of a write on the disk, or at a `call` of a function.
        number: of the file operation, or of the call, in this phase, from 0.
        how: KILL, GROUP (SIGKILL to the process group), TERM or USR2.
    """

    phase: str
    moment: Moment
    number: int = 0
    how: str = "KILL"


class Watch:
    """Phase and file operations of this process.

    Args:
        inside: operations on paths below it count.
        notes: file that gets one JSON line for every event.
        point: where the process kills itself; None: it only counts.
        phase: of the beginning.
    """

    def __init__(self, inside: Path, notes: Path, point: KillPoint | None, phase: str) -> None:
        self.inside, self.point, self.phase = f"{inside}/", point, phase
        self.notes = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.counts: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._write = os.write

    def note(self, **facts: Any) -> None:
        """Append one line to the notes."""
        self._write(self.notes, (json.dumps(facts) + "\n").encode())

    def enter(self, phase: str) -> str:
        """Begin a phase, or continue one, and return the phase before."""
        before, self.phase = self.phase, phase
        at_calls = self.point is None or (self.point.moment == "call" and self.point.phase == phase)
        sys.setprofile(self._call if at_calls else None)
        return before

    def _call(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call":
            return
        number = self.calls[self.phase]
        self.calls[self.phase] += 1
        if self.point is not None and number == self.point.number:
            sys.setprofile(None)
            self.kill(kind="call", file=f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")

    def around(self, owner: Any, name: str, phase: str, then: str | None = None) -> None:
        """Make a call of `owner.name` a phase; afterwards comes `then`, or the phase before."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            before = self.enter(phase)
            try:
                return function(*args, **kwargs)
            finally:
                self.enter(then or before)

        setattr(owner, name, call)

    def kill(self, **facts: Any) -> None:
        """Note where the process is, then kill it; TERM and USR2 return."""
        assert self.point is not None
        point, self.point = self.point, None
        self.note(killed=self.phase, moment=point.moment, how=point.how, **facts)
        if point.how == "GROUP":
            os.killpg(os.getpgid(0), signal.SIGKILL)
        os.kill(os.getpid(), signal.Signals[f"SIG{'KILL' if point.how == 'GROUP' else point.how}"])

    def operation(self, kind: str, path: Any, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do one file operation; the process dies before, in, or after it where that is the chosen moment."""
        text = self._inside(path)
        if text is None:
            return act()
        number = self.counts[self.phase]
        self.counts[self.phase] += 1
        point = self.point
        hit = point is not None and (point.phase, point.number) == (self.phase, number) and point.moment != "call"
        if hit and point is not None and point.moment != "after":
            if point.moment == "half" and half is not None:
                half()
            self.kill(kind=kind, file=text)
        try:
            return act()
        finally:
            if hit and point is not None and point.moment == "after":
                self.kill(kind=kind, file=text)

    def _inside(self, path: Any) -> str | None:
        """The path below the watched folder; None for all others."""
        with suppress(OSError, TypeError, ValueError):
            text = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.path.abspath(os.fspath(path))
            if isinstance(text, str) and text.startswith(self.inside):
                return text.removeprefix(self.inside)
        return None

    def install(self) -> None:
        """Replace the file operations of this process; it never gets them back."""
        for name in ("replace", "rename", "unlink", "remove", "fsync", "mkdir", "rmdir"):
            self._replace_operation(name)
        real_open, real_fd_open, real_fdopen = io.open, os.open, os.fdopen

        def open_file(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wax+"):
                return real_open(file, mode, *args, **kwargs)
            stream = self.operation("open", file, lambda: real_open(file, mode, *args, **kwargs))
            return _Stream(stream, self, stream.fileno()) if self._inside(stream.fileno()) else stream

        def open_descriptor(file: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return real_fd_open(file, flags, *args, **kwargs)
            return self.operation("open", file, lambda: real_fd_open(file, flags, *args, **kwargs))

        def open_stream(fd: int, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            stream = real_fdopen(fd, mode, *args, **kwargs)
            return _Stream(stream, self, fd) if set(mode) & set("wax+") and self._inside(fd) else stream

        def write(fd: int, data: Any) -> int:
            return self.operation(
                "write", fd, lambda: self._write(fd, data), lambda: self._write(fd, bytes(data)[: len(data) // 2])
            )

        for owner in (io, builtins):
            owner.open = open_file  # type: ignore[attr-defined]
        os.open, os.fdopen, os.write = open_descriptor, open_stream, write  # type: ignore[assignment]

    def note_counts(self) -> None:
        """Note the file operations and calls of every phase when the fork ends without a kill."""
        real = os._exit

        def leave(code: int) -> None:
            sys.setprofile(None)
            self.note(operations=dict(self.counts), calls=dict(self.calls))
            real(code)

        os._exit = leave  # type: ignore[assignment]

    def _replace_operation(self, name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        @wraps(real)
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            return self.operation(name, path, lambda: real(path, *args, **kwargs))

        setattr(os, name, call)


class _Stream:
    """A file that is open for writing; its writes are operations."""

    def __init__(self, stream: Any, watch: Watch, fd: int) -> None:
        self._stream, self._watch, self._fd = stream, watch, fd

    def write(self, data: Any) -> Any:
        def half() -> None:
            self._stream.write(data[: len(data) // 2])
            self._stream.flush()

        return self._watch.operation("write", self._fd, lambda: self._stream.write(data), half)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Stream:
        self._stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._stream.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self._stream)


def read_notes(path: Path) -> list[dict[str, Any]]:
    """Return the notes of a process, oldest first; a last line that is cut is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with suppress(ValueError):
            found.append(json.loads(line))
    return found
