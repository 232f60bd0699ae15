"""State of a GPU through a fake NVML: clocks, throttling, other processes, and missing values."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.machine import gpu
from benchmarks.machine.gpu import Gpu, GpuState, disturbance


class Nvml:
    """As pynvml, for one GPU."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVML_PERF_POLICY_POWER, NVML_PERF_POLICY_THERMAL = 0, 1

    class NVMLError(Exception):
        pass

    def __init__(self, reasons: int = 0, pids: list[int] | None = None, heat_ns: int = 0) -> None:
        self.reasons, self.heat_ns = reasons, heat_ns
        self.pids = [os.getpid()] if pids is None else pids

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        assert uuid == "GPU-abc"
        return uuid

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"580.1"

    def nvmlDeviceGetMigMode(self, _handle: str) -> Any:
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetPersistenceMode(self, _handle: str) -> int:
        return 1

    def nvmlDeviceGetMaxClockInfo(self, _handle: str, _kind: int) -> int:
        return 1980

    def nvmlDeviceGetClockInfo(self, _handle: str, kind: int) -> int:
        return {1: 1755, 2: 2619}[kind]

    def nvmlDeviceGetTemperature(self, _handle: str, _kind: int) -> int:
        return 41

    def nvmlDeviceGetPowerUsage(self, _handle: str) -> int:
        return 121_500

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, _handle: str) -> int:
        return self.reasons

    def nvmlDeviceGetViolationStatus(self, _handle: str, policy: int) -> Any:
        if policy == self.NVML_PERF_POLICY_POWER:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(violationTime=self.heat_ns)

    def nvmlDeviceGetComputeRunningProcesses(self, _handle: str) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in self.pids]


def seen(**facts: Any) -> GpuState:
    return Gpu(Nvml(**facts), "abc").read_state()


def test_a_quiet_gpu() -> None:
    found = seen()
    assert found == GpuState(0, {"heat": 0}, 1755, 2619, 41, 121.5, 0)
    assert disturbance(found, found) is None


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ({"reasons": 0x1}, None),  # idle
        ({"reasons": 0x2}, None),  # clocks were set
        ({"reasons": 0x4}, "its power limit"),
        ({"reasons": 0x40}, "its temperature (hardware)"),
        ({"heat_ns": 3_000_000}, "held down by heat for 3 ms"),
        ({"pids": [os.getpid(), 1]}, "1 other process on the GPU"),
        ({"pids": [os.getpid(), 1, 2]}, "2 other processes on the GPU"),
    ],
)
def test_what_disturbs(after: dict[str, Any], message: str | None) -> None:
    found = disturbance(seen(), seen(**after))
    assert found is None if message is None else message in str(found)


@pytest.mark.parametrize(("pids", "foreign"), [([], 0), ([77], 0), ([77, 78], 1)])
def test_in_a_container_one_unknown_number_is_our_own(pids: list[int], foreign: int) -> None:
    assert seen(pids=pids).other_processes == foreign


def test_a_value_that_the_driver_lacks_is_none() -> None:
    assert Gpu(Nvml(), "GPU-abc").machine_facts() == {
        "gpu_driver": "580.1",
        "gpu_persistence": 1,
        "gpu_mig": None,
        "gpu_max_clock_mhz": 1980,
    }


def test_without_nvml_there_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(gpu, "import_module", missing)
    assert gpu.open_gpu() == gpu.NVML_MISSING
