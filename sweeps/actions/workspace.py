"""The workspace of a sweep command: store, data, launcher and profile; and the lock of the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import SoftFileLock, Timeout

from c2d.core.disk import DISK_ERRORS, disk_error
from c2d.core.errors import Busy
from c2d.core.regular_file import read_bytes
from c2d.core.run_state import LOCK_BYTES
from c2d.core.store_folder import SWEEPS
from sweeps.definition.profile import Profile

Where = Literal["dry", "local", "slurm"]
LOCK_WAIT_S = 60.0


@dataclass(frozen=True)
class Workspace:
    """Folders of runs and data, launcher and machine of one command.

    Attributes:
        runs: the store of all runs.
        data: root of the data cards.
        where: launcher.
        profile: the machine that the launcher uses.
    """

    runs: Path
    data: Path
    where: Where
    profile: Profile


@contextmanager
def submission_lock(runs: Path) -> Iterator[None]:
    """Hold the lock of a store: one submission at a time, also over a network file system.

    Raises:
        Busy: another process holds it for longer than LOCK_WAIT_S seconds.
        DiskError: the store cannot be written, for the lock or in the body.
    """
    path = runs / SWEEPS / ".submission.lock"
    # A lock file, not a lock of the kernel: the latter does not hold between the hosts of every network file system.
    lock = SoftFileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_WAIT_S)
    except Timeout:
        # filelock writes the pid and the host name into the file, one a line.
        owner = "unknown"
        with suppress(OSError, ValueError):
            owner = " on ".join(read_bytes(path, most=LOCK_BYTES).decode(errors="replace").splitlines()[:2])
        raise Busy(
            f"another submission to {runs} is in progress (pid {owner}); wait for it, or remove {path} if that process "
            "has ended"
        ) from None
    except OSError as error:
        raise disk_error(path, error) from error
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise disk_error(Path(error.filename or runs), error) from error
    finally:
        lock.release()
