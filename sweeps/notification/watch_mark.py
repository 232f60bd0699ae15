"""The mark of a process that submits the rest of a sweep or retries its failures: the sweep has not ended then."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from c2d.core.store_folder import RunStore

RENEWED_S = 60.0
WATCHED_S = 240.0
"""An older mark is of a process that was killed."""


@contextmanager
def watched(runs: Path, sweep: str, sleep: Callable[[float], None] = time.sleep) -> Iterator[Callable[[float], None]]:
    """Mark a sweep as watched by this process, which submits the rest of it or retries, so that it has not ended yet.

    Yields:
        A function that sleeps so many seconds and renews the mark meanwhile.

    Args:
        runs: the store.
        sweep: its name.
        sleep: replaced in tests.
    """
    folder = RunStore(runs).submission(sweep, "end")
    mark = folder / f"watched-{socket.gethostname()}-{os.getpid()}"

    def renew() -> None:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            mark.touch()

    def sleep_and_renew(seconds: float) -> None:
        left = seconds
        while left > 0:
            sleep(min(left, RENEWED_S))
            left -= RENEWED_S
            renew()

    renew()
    try:
        yield sleep_and_renew
    finally:
        with suppress(OSError):
            mark.unlink()


def is_watched(runs: Path, sweep: str, now: float) -> bool:
    """Return whether a living process watches a sweep.

    Args:
        now: seconds since the epoch.
    """
    for mark in RunStore(runs).submission(sweep, "end").glob("watched-*"):
        with suppress(OSError):
            if now - mark.stat().st_mtime < WATCHED_S:
                return True
    return False
