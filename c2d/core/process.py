"""Whether the process that wrote a file on this host is still running: by its pid and the time it started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

PROC = Path("/proc")
START_TOLERANCE_S = 5.0
"""Time stamps of files have whole seconds, the boot time in /proc/stat too, and the clock may be set after boot."""


def is_process_alive(pid: Any, written_at: float | None) -> bool:
    """Return whether the process that wrote a time stamp is still running on this host.

    A pid is used again after its process ended (after every reboot, or in a new container). A process that started
    after the time stamp is therefore another one.

    Args:
        pid: the process id that stands beside the time stamp. Anything but a positive int belongs to no process.
        written_at: the time stamp in seconds since the epoch; None: there is none, and the pid alone decides.
    """
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it exists and belongs to another user
        pass
    started = process_start(pid)
    return started is None or written_at is None or started < written_at + START_TOLERANCE_S


def process_start(pid: int) -> float | None:
    """Return when a process started, in seconds since the epoch; None where /proc does not show it."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()  # the name may hold blanks and ")"
        boot_line = next(line for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime"))
        return int(boot_line.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22: starttime, ticks
    except (OSError, StopIteration, IndexError, ValueError):
        return None
