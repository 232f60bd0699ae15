"""Describe the GPU and detect what disturbs a measurement, through NVML (`pip install nvidia-ml-py`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

# Constants nvmlClocksEventReason* of nvml.h.
SLOWDOWN_REASONS = {
    0x04: "its power limit",
    0x08: "the hardware (slowdown)",
    0x20: "its temperature (software)",
    0x40: "its temperature (hardware)",
    0x80: "the power supply (brake)",
}
"""Bits of NVML's clock event reasons that disturb a time; an idle GPU or fixed clocks do not."""
NVML_MISSING = "GPU clocks, throttling and other processes are not known: pip install nvidia-ml-py"


@dataclass(frozen=True)
class GpuState:
    """State of a GPU at one moment; None: not known.

    Attributes:
        reasons: NVML's bits of clock event reasons.
        slowed_ns: {"power", "heat": nanoseconds for which it has held the clocks down}; empty where not counted.
        clock_mhz, memory_clock_mhz: clocks of the multiprocessors and of the memory.
        temperature_c: degrees Celsius.
        power_w: watts.
        other_processes: number of other processes with a context.
    """

    reasons: int
    slowed_ns: dict[str, int]
    clock_mhz: int | None
    memory_clock_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    other_processes: int | None

    @property
    def facts(self) -> dict[str, Any]:
        """Entries of the latency file."""
        return {
            "gpu_clock_mhz": self.clock_mhz,
            "gpu_memory_clock_mhz": self.memory_clock_mhz,
            "gpu_temperature_c": self.temperature_c,
            "gpu_power_w": self.power_w,
            "gpu_clock_reasons": f"0x{self.reasons:x}",
            "gpu_other_processes": self.other_processes,
        }


class Gpu:
    """One GPU under NVML.

    Args:
        nvml: the module pynvml.
        uuid: of the GPU, as torch gives it.
    """

    def __init__(self, nvml: Any, uuid: str) -> None:
        self.nvml = nvml
        # torch gives the UUID without the prefix that NVML requires. CUDA_VISIBLE_DEVICES changes indices, never UUIDs.
        self.handle = nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")

    def machine_facts(self) -> dict[str, Any]:
        """Return what does not change: driver, persistence and MIG mode, the highest clock in MHz."""
        driver = self._query("nvmlSystemGetDriverVersion", with_handle=False)
        mig = self._query("nvmlDeviceGetMigMode")
        return {
            # Older versions of pynvml return bytes.
            "gpu_driver": driver.decode() if isinstance(driver, bytes) else driver,
            "gpu_persistence": self._query("nvmlDeviceGetPersistenceMode"),
            # NVML returns (current, pending).
            "gpu_mig": mig[0] if isinstance(mig, (list, tuple)) else mig,
            "gpu_max_clock_mhz": self._query("nvmlDeviceGetMaxClockInfo", self.nvml.NVML_CLOCK_SM),
        }

    def read_state(self, own: Sequence[int] | None = None) -> GpuState:
        """Read the state; `own` are the processes of the measurement (None: this one)."""
        milliwatts = self._query("nvmlDeviceGetPowerUsage")
        slowed = {}
        # The bits are those of one moment; these counters also include what happens between two readings.
        for name, policy in (("power", "NVML_PERF_POLICY_POWER"), ("heat", "NVML_PERF_POLICY_THERMAL")):
            status = self._query("nvmlDeviceGetViolationStatus", getattr(self.nvml, policy, None))
            if status is not None:
                slowed[name] = int(status.violationTime)
        return GpuState(
            reasons=int(self._query("nvmlDeviceGetCurrentClocksThrottleReasons") or 0),
            slowed_ns=slowed,
            clock_mhz=self._query("nvmlDeviceGetClockInfo", self.nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._query("nvmlDeviceGetClockInfo", self.nvml.NVML_CLOCK_MEM),
            temperature_c=self._query("nvmlDeviceGetTemperature", self.nvml.NVML_TEMPERATURE_GPU),
            power_w=None if milliwatts is None else milliwatts / 1000,
            other_processes=self._other_processes(set(own or [os.getpid()])),
        )

    def _other_processes(self, own: set[int]) -> int | None:
        # In a container NVML lists our own process under another number: if none is ours, one of them must be.
        processes = self._query("nvmlDeviceGetComputeRunningProcesses")
        if processes is None:
            return None
        others = [process.pid for process in processes if process.pid not in own]
        own_is_hidden = bool(others) and len(others) == len(processes)
        return len(others) - own_is_hidden

    def _query(self, name: str, *arguments: Any, with_handle: bool = True) -> Any:
        """Return NVML's value, or None where this GPU or driver has none."""
        # AttributeError: an older pynvml has no such function or constant.
        with contextlib.suppress(self.nvml.NVMLError, AttributeError):
            return getattr(self.nvml, name)(*([self.handle] if with_handle else []), *arguments)
        return None


def open_gpu(index: int = 0) -> Gpu | str:
    """Return the GPU that torch calls `cuda:index`, or why nothing is known about it."""
    try:
        pynvml: Any = import_module("pynvml")
    except ImportError:
        return NVML_MISSING
    import torch

    try:
        pynvml.nvmlInit()
        return Gpu(pynvml, str(torch.cuda.get_device_properties(index).uuid))
    except (pynvml.NVMLError, AttributeError) as error:
        return f"GPU clocks, throttling and other processes are not known: {error}"


def disturbance(before: GpuState, after: GpuState) -> str | None:
    """Return why a measurement between two readings is not reliable, or None."""
    bits = before.reasons | after.reasons
    reasons = [f"the GPU was slowed by {cause}" for bit, cause in SLOWDOWN_REASONS.items() if bits & bit]
    for name, total in after.slowed_ns.items():
        if (held := total - before.slowed_ns.get(name, total)) > 0:
            reasons.append(f"the GPU's clocks were held down by {name} for {held / 1e6:.0f} ms")
    if others := max(before.other_processes or 0, after.other_processes or 0):
        reasons.append(f"{others} other process{'es' * (others > 1)} on the GPU")
    return "; ".join(reasons) or None
