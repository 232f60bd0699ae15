"""The CPU cores that this process may use: fewer than the machine has, in a job of SLURM or in a container."""

from __future__ import annotations

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""CPU time of a container (cgroup v2) as `<us> <period in us>`, or `max <period>`: `docker run --cpus 2` writes it."""
QUOTA_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
"""The same under cgroup v1, in two files; a quota of -1 is none."""


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1: by its affinity and its container's quota."""
    cores = _affinity()
    return max(1, min(cores, _quota(cores)))


def threads_within_quota() -> int | None:
    """Return the threads for a process whose quota is less than its affinity, which is all that torch looks at.

    None: no quota, or OMP_NUM_THREADS states the number.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return None
    allowed = usable_cores()
    return allowed if allowed < _affinity() else None


def _affinity() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux alone
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _quota(cores: int) -> int:
    """Return the whole cores that the quota is worth, rounded up; `cores` where there is none."""
    try:
        if QUOTA.exists():
            allowed_us, period_us = QUOTA.read_text(encoding="ascii").split()
        else:
            allowed_us, period_us = (path.read_text(encoding="ascii") for path in QUOTA_V1)
        quota = math.ceil(int(allowed_us) / int(period_us))
    except (OSError, ValueError, ZeroDivisionError):  # no cgroup, or `max`
        return cores
    return quota if quota > 0 else cores
