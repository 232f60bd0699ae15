"""What this process has cost so far: CPU seconds, and its largest resident memory."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, of all its threads, and of its children that have ended.

    Other work on the machine makes a training longer, and changes this number little.
    """
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def resident_peak_mib() -> float:
    """Return the largest resident memory of this process, in MiB, so far or since its peak was reset."""
    # VmHWM and not `ru_maxrss`: in a child the latter begins with the peak of its parent, because it outlives the exec.
    try:
        peak = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        peak = None
    if peak:
        return int(peak[1]) / 1024
    import resource  # not on Windows, where this module has to be imported as well

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
