"""Run `c2d` commands in forks of this process, which has imported everything already."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    """The end of a fork.

    Attributes:
        code: exit code; negative: the signal that ended it.
        output: stdout and stderr.
        seconds: wall time.
    """

    code: int
    output: str
    seconds: float

    @property
    def last_line(self) -> str:
        """The last line of its output, "" without any."""
        return (self.output.strip().splitlines() or [""])[-1]


def command_in_fork(arguments: list[str], output: Path, prepare: Callable[[], None] = lambda: None) -> Ended:
    """Run `c2d ARGUMENTS` in a fork and wait for its end.

    Args:
        arguments: what follows `c2d`.
        output: file for its stdout and stderr.
        prepare: called in the fork first.
    """
    return wait(start_command(arguments, output, prepare), output)


class Started(NamedTuple):
    """A fork that runs."""

    pid: int
    begun: float


def start_command(arguments: list[str], output: Path, prepare: Callable[[], None] = lambda: None) -> Started:
    """Start `c2d ARGUMENTS` in a fork, in a session of its own."""

    def run() -> None:
        from c2d.cli.main import main

        main(arguments)

    return start_fork(run, output, prepare)


def start_fork(run: Callable[[], None], output: Path, prepare: Callable[[], None] = lambda: None) -> Started:
    """Start a function in a fork, in a session of its own; its exit code is that of SystemExit, 1 for an exception."""
    begun = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Started(pid, begun)
    code = 70
    try:
        os.setsid()
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        prepare()
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        code = 1
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(started: Started, output: Path) -> Ended:
    """Wait for a fork to end."""
    _, status = os.waitpid(started.pid, 0)
    seconds = time.monotonic() - started.begun
    return Ended(os.waitstatus_to_exitcode(status), output.read_text(errors="replace"), seconds)
