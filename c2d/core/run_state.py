"""Decide whether the process of a run is alive, dead or stale, and which process holds the lock of a run.

The attempt, the plan of a sweep and the reports decide with these functions, so they agree about a run. Only the
standard library is needed.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import stat
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from c2d.core.disk import host_digest, unfinished
from c2d.core.regular_file import read_bytes
from c2d.core.run_folder import RunFolder

HEARTBEAT_LIMIT_S = 300.0
"""A heartbeat older than this is stale: its process has probably died without recording it."""
CLOCK_LIMIT_S = 60.0
"""A heartbeat that lies further in the future shows that clocks differ. Its process counts as alive: a second writer
would do more damage than a run that waits."""
LOCK_LIMIT_S = 60.0
"""Age at which a lock without a status `running` is taken over. Its owner writes the status right
after it acquired the lock, and releases the lock right after the last status."""
LOCK_BYTES = 4096
"""More than any lock file has: filelock writes a pid, a host name and a time into it."""

ABANDONED_S = 86_400.0
"""Age at which a temporary file of another host is taken for one that a killed process left."""

PROC = Path("/proc")
START_TOLERANCE_S = 5.0
"""Time stamps of files have whole seconds, the boot time in /proc/stat too, and the clock may be set after boot."""


@dataclass(frozen=True)
class Liveness:
    """State of the process behind a status `running`.

    Attributes:
        state: alive: its heartbeat is fresh. dead: it ran on this host and has ended. stale: its heartbeat is old, or
            there is none.
        reason: one phrase, "" when alive and the clocks agree.
        process_exists: True when the process was found on this host; stale as well means that it hangs.
    """

    state: Literal["alive", "dead", "stale"]
    reason: str = ""
    process_exists: bool = False


def liveness(status: Mapping[str, Any], now: float) -> Liveness:
    """Decide whether the process that wrote a status is alive.

    On its own host the pid decides: a process that does not exist is dead at once. Elsewhere the heartbeat decides.

    Args:
        status: status.json with state `running`: host, pid and heartbeat are read.
        now: seconds since the epoch.
    """
    written_at = time_stamp(status.get("heartbeat"))
    if written_at is None:
        return Liveness("stale", "no heartbeat was recorded")
    pid = status.get("pid")
    is_local = status.get("host") == socket.gethostname() and isinstance(pid, int)
    if is_local and not is_process_alive(pid, written_at):
        return Liveness("dead", f"its process (pid {pid}) is gone")
    if now - written_at > HEARTBEAT_LIMIT_S:
        return Liveness("stale", f"no heartbeat for {duration_text(now - written_at)}", is_local)
    ahead = written_at - now
    reason = f"its heartbeat lies {duration_text(ahead)} in the future: clocks differ" if ahead > CLOCK_LIMIT_S else ""
    return Liveness("alive", reason, is_local)


def lock_owner(folder: RunFolder) -> str | None:
    """Return which process writes this run, as `pid 12 on node3 (heartbeat ...)`; None when there is none.

    Changes nothing: the lock of a dead process stays, and the next attempt takes it over.
    """
    if not folder.lock.exists():
        return None
    status = folder.try_read_status()
    return None if is_lock_dead(folder, status) else owner_text(status)


def owner_text(status: Mapping[str, Any]) -> str:
    """Name the process that wrote a status."""
    return f"pid {status.get('pid')} on {status.get('host')} (heartbeat {status.get('heartbeat')})"


def is_lock_dead(folder: RunFolder, status: Mapping[str, Any]) -> bool:
    """Return whether the owner of the lock is dead or stale.

    The process that the lock itself names decides, where it ran on this host: a process that has just taken over the
    lock of a dead one has not yet written the status. Elsewhere the status decides. If it is not `running`, or older
    than the lock, the owner was killed before it wrote that status, or after it wrote the last one. A process of this
    host that hangs still owns its lock.
    """
    locked_at, written_at = _changed_at(folder.lock), _changed_at(folder.status)
    if (pid := _local_lock_pid(folder)) is not None:
        return not is_process_alive(pid, locked_at)
    if status["state"] != "running" or not isinstance(status.get("pid"), int) or written_at < locked_at:
        return time.time() - max(locked_at, written_at) > LOCK_LIMIT_S
    owner = liveness(status, time.time())
    return owner.state == "dead" or (owner.state == "stale" and not owner.process_exists)


def _changed_at(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _local_lock_pid(folder: RunFolder) -> int | None:
    """Return the pid in a lock of this host; None for another host's, and for locks of filelock before 3.22."""
    try:
        pid, host, *_ = read_bytes(folder.lock, most=LOCK_BYTES).decode(errors="replace").splitlines()
        return int(pid) if host == socket.gethostname() else None
    except (OSError, ValueError):
        return None


def is_process_alive(pid: Any, written_at: float | None) -> bool:
    """Return whether the process that wrote a time stamp is still running on this host.

    A pid is used again after its process ended (after every reboot, or in a new container). A process that started
    after the time stamp is therefore another one.

    Args:
        pid: the process id that was stored with the time stamp. Anything but a positive int belongs to no process.
        written_at: the time stamp in seconds since the epoch; None: there is none, and the pid alone decides.
    """
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    if sys.platform == "win32":  # os.kill(pid, 0) would send Ctrl-C there; no run is trained on Windows
        return True
    try:
        # Signal 0 reaches no process; it only checks that one with this pid exists.
        os.kill(pid, 0)
    # OverflowError: the number is too large for a pid.
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it exists and belongs to another user
        pass
    started = process_start(pid)
    return started is None or written_at is None or started < written_at + START_TOLERANCE_S


def is_abandoned(path: Path, now: float) -> bool:
    """Return whether a file or folder has a temporary name and the process that wrote it has ended.

    On its own host the pid of the name decides, elsewhere the age.

    Args:
        path: a file or folder; a link is none.
        now: seconds since the epoch.
    """
    if (writer := unfinished(path.name)) is None:
        return False
    try:
        found = os.lstat(path)
    except OSError:
        return False
    if stat.S_ISLNK(found.st_mode):
        return False
    if writer.host == host_digest():
        return not is_process_alive(writer.pid, found.st_mtime)
    return now - found.st_mtime > ABANDONED_S


def remove_abandoned(place: Path) -> None:
    """Remove what killed processes left of the file or folder `place` beside it. No error is raised."""
    for path in place.parent.glob(f".{glob.escape(place.name)}.*"):
        if is_abandoned(path, time.time()):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def process_start(pid: int) -> float | None:
    """Return when a process started, in seconds since the epoch; None where /proc does not show it."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()  # the name may hold blanks and ")"
        boot_line = next(line for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime"))
        return int(boot_line.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22: starttime, ticks
    except (OSError, StopIteration, IndexError, ValueError):
        return None


def time_stamp(stamp: Any) -> float | None:
    """Return an ISO time as seconds since the epoch; None for anything else. Without a zone it is UTC.

    >>> time_stamp("1970-01-01T00:01:00+00:00"), time_stamp("1970-01-01T00:01:00"), time_stamp("soon"), time_stamp(None)
    (60.0, 60.0, None, None)
    """
    try:
        at = datetime.fromisoformat(str(stamp))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def duration_text(seconds: float | None) -> str:
    """Return a duration in words; "-" for None.

    >>> [duration_text(s) for s in (None, 40, 600, 9000, 200000)]
    ['-', '40 s', '10 min', '2 h 30 min', '2 d 8 h']
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
