"""The machine a time was taken on, and whether something else had a hand in it.

`look` reads the counters of the moment; two looks, before and after a measurement, tell `disturbed` what went on in
between. Everything comes from Linux's /proc and /sys; what is not there is None and disturbs nobody. The GPU's side is
in `benchmarks.machine.gpu`.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOREIGN = 0.10
"""More of all cores' time than this, used by other processes, disturbs."""
STOLEN = 0.01
"""More of all cores' time than this, given by the hypervisor to other machines, disturbs."""
HELD = 0.01
"""A share of the time in which the container was out of its CPU quota; more disturbs."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Look:
    """Counters since the machine's start, in seconds of one core where nothing else is said; None: not known.

    own_s: this process. heat: how often a core was slowed for its temperature. quota_s: time without quota.
    """

    time_s: float
    own_s: float
    busy_s: float | None
    stolen_s: float | None
    cores: int
    heat: int | None
    quota_s: float | None
    load: float | None

    @property
    def facts(self) -> dict[str, Any]:
        return {"load_1min": self.load, "heat_throttles": self.heat}


def look(root: Path = Path("/")) -> Look:
    """The counters now; `root` is where proc and sys are."""
    busy, stolen, cores = _processor_times(_text(root / "proc/stat"))
    heat = [_text(path) for path in root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")]
    held = re.search(r"^throttled_usec (\d+)", _text(root / "sys/fs/cgroup/cpu.stat"), re.MULTILINE)
    load = _text(root / "proc/loadavg").split()
    return Look(
        time_s=time.monotonic(),
        own_s=time.process_time(),
        busy_s=busy,
        stolen_s=stolen,
        cores=cores,
        heat=sum(int(count) for count in heat if count.strip().isdigit()) if heat else None,
        quota_s=int(held.group(1)) / 1e6 if held else None,
        load=float(load[0]) if load else None,
    )


def disturbed(before: Look, after: Look) -> str | None:
    """Why a measurement between two looks is not to be trusted, or None."""
    passed = max(after.time_s - before.time_s, 1 / _TICKS)
    offered = passed * after.cores
    reasons = []
    if before.busy_s is not None and after.busy_s is not None:
        foreign = after.busy_s - before.busy_s - (after.own_s - before.own_s)
        # counters advance in ticks, one a core
        if (share := (foreign - 2 * after.cores / _TICKS) / offered) > FOREIGN:
            reasons.append(f"other processes used {share:.0%} of the {after.cores} cores (at most {FOREIGN:.0%})")
    if before.stolen_s is not None and after.stolen_s is not None:
        share = (after.stolen_s - before.stolen_s - after.cores / _TICKS) / offered
        if share > STOLEN:
            reasons.append(f"the hypervisor took {share:.0%} of the cores away (steal, at most {STOLEN:.0%})")
    if before.heat is not None and after.heat is not None and after.heat > before.heat:
        reasons.append(f"cores were slowed for their temperature {after.heat - before.heat} times")
    if before.quota_s is not None and after.quota_s is not None:
        share = (after.quota_s - before.quota_s) / passed
        if share > HELD:
            reasons.append(f"the container was out of its CPU quota for {share:.0%} of the time (at most {HELD:.0%})")
    return "; ".join(reasons) or None


def machine(root: Path = Path("/")) -> dict[str, Any]:
    """What does not change: cpu (model), cores (usable by this process), cores_all, governor (every one in use)."""
    model = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    paths = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return {
        "cpu": model.group(1).strip() if model else _other_model(),
        "cores": cores(),
        "cores_all": os.cpu_count(),
        "governor": ", ".join(sorted({_text(path).strip() for path in paths})) or None,
        "memory_mib": int(memory.group(1)) // 1024 if memory else None,
    }


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _other_model() -> str:
    import platform

    return platform.processor() or platform.machine()


def _processor_times(stat: str) -> tuple[float | None, float | None, int]:
    """(busy, stolen) seconds of all cores together, and their number, of /proc/stat's text.

    Its first line counts ticks: user nice system idle iowait irq softirq steal guest guest_nice; the guests' time is in
    user and nice already.
    """
    number = len(re.findall(r"^cpu\d+ ", stat, re.MULTILINE)) or cores()
    line = re.search(r"^cpu\s+(.+)$", stat, re.MULTILINE)
    ticks = [int(word) for word in line.group(1).split()] if line else []
    if len(ticks) < 8:
        return None, None, number
    user, nice, system, _idle, _wait, irq, soft, steal = ticks[:8]
    return (user + nice + system + irq + soft) / _TICKS, steal / _TICKS, number


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
