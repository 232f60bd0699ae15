"""Disturbances of a measurement, from synthetic /proc and /sys files: two cores, ticks of 0.01 s."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.machine.cpu import CpuCounters, disturbance, machine_facts, read_counters

TICKS = os.sysconf("SC_CLK_TCK")


def machine_files(root: Path, busy_s: float = 0.0, stolen_s: float = 0.0, heat: int = 0, quota_us: int = 0) -> Path:
    """Write /proc and /sys of a machine of two cores with the given counters."""
    user, steal = int(busy_s * TICKS), int(stolen_s * TICKS)
    texts = {
        "proc/stat": f"cpu  {user} 0 0 100000 7 0 0 {steal} 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\ncpu1 1 0 0 1 0 0 0 0 0 0\n",
        "proc/loadavg": "1.50 1.00 0.50 2/300 4242\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: Made CPU @ 3.00GHz\n",
        "proc/meminfo": "MemTotal:        8388608 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": f"{heat}\n",
        "sys/fs/cgroup/cpu.stat": f"usage_usec 5\nnr_throttled 1\nthrottled_usec {quota_us}\n",
    }
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def at(found: CpuCounters, time_s: float, own_s: float) -> CpuCounters:
    return replace(found, time_s=time_s, own_s=own_s)


@pytest.mark.parametrize(
    ("after", "own_s", "message"),
    [
        ({"busy_s": 10.0}, 10.0, None),  # all work of ten seconds was ours
        ({"busy_s": 11.0}, 10.0, None),  # 1 s of 20 core seconds: 5 %
        ({"busy_s": 13.0}, 10.0, "other processes used 15% of the 2 cores"),  # (3 - 0.04) / 20
        ({"busy_s": 10.0, "stolen_s": 0.1}, 10.0, None),  # 0.5 %
        ({"busy_s": 10.0, "stolen_s": 1.0}, 10.0, "the hypervisor took 5% of the cores"),
        ({"busy_s": 10.0, "heat": 3}, 10.0, "slowed for their temperature 3 times"),
        ({"busy_s": 10.0, "quota_us": 500_000}, 10.0, "out of its CPU quota for 5%"),
    ],
)
def test_what_disturbs(tmp_path: Path, after: dict[str, float], own_s: float, message: str | None) -> None:
    begun = at(read_counters(machine_files(tmp_path)), 0.0, 0.0)
    ended = at(read_counters(machine_files(tmp_path, **after)), 10.0, own_s)  # type: ignore[arg-type]
    found = disturbance(begun, ended)
    assert found is None if message is None else message in str(found)


def test_several_reasons_are_all_reported(tmp_path: Path) -> None:
    begun = at(read_counters(machine_files(tmp_path)), 0.0, 0.0)
    found = disturbance(begun, at(read_counters(machine_files(tmp_path, busy_s=20, stolen_s=2, heat=1)), 10.0, 0.0))
    assert found is not None
    assert found.count(";") == 2


def test_the_machine(tmp_path: Path) -> None:
    found = machine_facts(machine_files(tmp_path))
    assert found["cpu"] == "Made CPU @ 3.00GHz"
    assert found["governor"] == "performance, powersave"
    assert found["memory_mib"] == 8192
    assert read_counters(tmp_path).load == 1.5


def test_missing_counters_are_no_disturbance(tmp_path: Path) -> None:
    begun, ended = read_counters(tmp_path), read_counters(tmp_path)
    assert (begun.busy_s, begun.heat_throttles, begun.throttled_s, begun.load) == (None, None, None, None)
    assert disturbance(begun, ended) is None
    assert machine_facts(tmp_path)["governor"] is None


def test_counters_of_this_machine_are_readable() -> None:
    begun = read_counters()
    assert begun.cores >= 1
    assert disturbance(begun, begun) is None
