"""One process at a time downloads into a place; another one waits for it, with a line that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from c2d.core.download.remote_file import PrintLine


@contextmanager
def download_lock(path: Path, print_line: PrintLine) -> Iterator[None]:
    """Hold the lock of a file or folder that is downloaded; the system releases it when the process ends.

    Args:
        path: what is downloaded; the lock is the hidden file `.NAME.lock` beside it.
        print_line: called with a line before a wait.

    Raises:
        OSError: the lock cannot be made.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print_line(f"another process downloads {path}; waiting for it")
        lock.acquire()
    except NotImplementedError:  # a file system without locks
        print_line(f"warning: {path.parent} has no locks; do not download into it from two processes at once")
        yield
        return
    try:
        yield
    finally:
        lock.release()
