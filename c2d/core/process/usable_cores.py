"""The CPU cores that this process may use: fewer than the machine has, in a job of SLURM or in a container."""

from __future__ import annotations

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""CPU time of a container (cgroup v2) as `<us> <period in us>`, or `max <period>`: `docker run --cpus 2` writes it."""


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1: by its affinity and its container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux alone
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, _quota(cores)))


def _quota(cores: int) -> int:
    """Return the whole cores that the quota is worth, rounded up; `cores` where there is none."""
    try:
        allowed_us, period_us = QUOTA.read_text(encoding="ascii").split()
        return math.ceil(int(allowed_us) / int(period_us))
    except (OSError, ValueError, ZeroDivisionError):  # no cgroup v2, or `max`
        return cores
