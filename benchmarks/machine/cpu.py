"""Describe the CPU and detect what disturbs a measurement: other processes, steal, heat, a container's quota.

`read_counters` reads Linux's /proc and /sys; `disturbance` compares the counters before and after a measurement. A
counter that is missing is None and disturbs nothing. The GPU's side is in `benchmarks.machine.gpu`.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.process.usable_cores import usable_cores

MAX_OTHER = 0.10
"""Share of all cores' time that other processes may use."""
MAX_STEAL = 0.01
"""Share of all cores' time that the hypervisor may give to other machines."""
MAX_THROTTLED = 0.01
"""Share of the time in which the container may be out of its CPU quota."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuCounters:
    """Counters since the start of the machine; None: not known.

    Attributes:
        time_s: monotonic clock.
        own_s: CPU seconds of this process.
        busy_s, steal_s: core seconds of all processes, and those given to other machines.
        cores: of the machine.
        heat_throttles: times that a core was slowed for its temperature.
        throttled_s: seconds in which the container was out of its CPU quota.
        load: average of the last minute.
    """

    time_s: float
    own_s: float
    busy_s: float | None
    steal_s: float | None
    cores: int
    heat_throttles: int | None
    throttled_s: float | None
    load: float | None

    @property
    def facts(self) -> dict[str, Any]:
        """Entries of the latency file."""
        return {"load_1min": self.load, "heat_throttles": self.heat_throttles}


def read_counters(root: Path = Path("/")) -> CpuCounters:
    """Read the counters; `root` holds proc and sys."""
    busy, steal, cores = _processor_times(_text(root / "proc/stat"))
    heat = [_text(path) for path in root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")]
    # cgroup v2 alone: version 1 has another file, so there the quota is unknown.
    throttled = re.search(r"^throttled_usec (\d+)", _text(root / "sys/fs/cgroup/cpu.stat"), re.MULTILINE)
    load = _text(root / "proc/loadavg").split()
    return CpuCounters(
        time_s=time.monotonic(),
        own_s=time.process_time(),
        busy_s=busy,
        steal_s=steal,
        cores=cores,
        heat_throttles=sum(int(count) for count in heat if count.strip().isdigit()) if heat else None,
        throttled_s=int(throttled.group(1)) / 1e6 if throttled else None,
        load=float(load[0]) if load else None,
    )


def disturbance(before: CpuCounters, after: CpuCounters) -> str | None:
    """Return why a measurement between two readings is not reliable, or None."""
    # Two readings within one tick have no measurable distance.
    elapsed = max(after.time_s - before.time_s, 1 / _TICKS)
    core_seconds = elapsed * after.cores
    reasons = []
    if before.busy_s is not None and after.busy_s is not None:
        # The counters of /proc/stat include this process.
        others = after.busy_s - before.busy_s - (after.own_s - before.own_s)
        # The counters advance in ticks, so each core may be off by one at both readings.
        if (share := (others - 2 * after.cores / _TICKS) / core_seconds) > MAX_OTHER:
            reasons.append(f"other processes used {share:.0%} of the {after.cores} cores (at most {MAX_OTHER:.0%})")
    if before.steal_s is not None and after.steal_s is not None:
        share = (after.steal_s - before.steal_s - after.cores / _TICKS) / core_seconds
        if share > MAX_STEAL:
            reasons.append(f"the hypervisor took {share:.0%} of the cores away (steal, at most {MAX_STEAL:.0%})")
    heat_before, heat_after = before.heat_throttles, after.heat_throttles
    if heat_before is not None and heat_after is not None and heat_after > heat_before:
        reasons.append(f"cores were slowed for their temperature {heat_after - heat_before} times")
    if before.throttled_s is not None and after.throttled_s is not None:
        share = (after.throttled_s - before.throttled_s) / elapsed
        if share > MAX_THROTTLED:
            reasons.append(
                f"the container was out of its CPU quota for {share:.0%} of the time (at most {MAX_THROTTLED:.0%})"
            )
    return "; ".join(reasons) or None


def machine_facts(root: Path = Path("/")) -> dict[str, Any]:
    """Return what does not change.

    Returns:
        {cpu: model; cores: usable by this process; cores_all: of the machine; governor: every one in use; memory_mib}.
    """
    model = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    # Most virtual machines have no such files: the host sets the clocks.
    paths = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return {
        "cpu": model.group(1).strip() if model else _platform_model(),
        "cores": usable_cores(),
        "cores_all": os.cpu_count(),
        "governor": ", ".join(sorted({_text(path).strip() for path in paths})) or None,
        "memory_mib": int(memory.group(1)) // 1024 if memory else None,
    }


def _platform_model() -> str:
    import platform

    return platform.processor() or platform.machine()


def _processor_times(stat: str) -> tuple[float | None, float | None, int]:
    """Return (busy, steal) seconds of all cores together, and their number, from the text of /proc/stat.

    Its first line counts ticks: user nice system idle iowait irq softirq steal guest guest_nice; the time of guests is
    included in user and nice.
    """
    number = len(re.findall(r"^cpu\d+ ", stat, re.MULTILINE)) or usable_cores()
    line = re.search(r"^cpu\s+(.+)$", stat, re.MULTILINE)
    ticks = [int(word) for word in line.group(1).split()] if line else []
    if len(ticks) < 8:
        return None, None, number
    # Steal is no work of this machine, and a core that waits for a disk (iowait) is idle.
    user, nice, system, _idle, _wait, irq, soft, steal = ticks[:8]
    return (user + nice + system + irq + soft) / _TICKS, steal / _TICKS, number


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
