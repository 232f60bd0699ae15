"""The GPU's side of the machine, through nvidia-ml-py (`pip install nvidia-ml-py`); without it, a note says so."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

SLOWED = {
    0x04: "its power limit",
    0x08: "the hardware (slowdown)",
    0x20: "its temperature (software)",
    0x40: "its temperature (hardware)",
    0x80: "the power supply (brake)",
}
"""Bits of NVML's clock event reasons that make a time worthless; being idle or set to fixed clocks is none."""
WITHOUT = "GPU clocks, throttling and other processes are not known: pip install nvidia-ml-py"


@dataclass(frozen=True)
class GpuLook:
    """One moment: reasons (NVML's bits), clocks in MHz, temperature in degrees C, power in W; foreign: other processes.

    slowed_ns: how long power and heat have held the clocks down so far, for {power, heat}; empty where not counted.
    """

    reasons: int
    slowed_ns: dict[str, int]
    clock_mhz: int | None
    memory_clock_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    foreign: int | None

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "gpu_clock_mhz": self.clock_mhz,
            "gpu_memory_clock_mhz": self.memory_clock_mhz,
            "gpu_temperature_c": self.temperature_c,
            "gpu_power_w": self.power_w,
            "gpu_clock_reasons": f"0x{self.reasons:x}",
            "gpu_other_processes": self.foreign,
        }


class Gpu:
    """One GPU under NVML.

    Args:
        nvml: the module pynvml. uuid: the GPU's, as torch gives it.
    """

    def __init__(self, nvml: Any, uuid: str) -> None:
        self.nvml = nvml
        self.handle = nvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")

    def machine(self) -> dict[str, Any]:
        """What does not change: driver, persistence and MIG mode, the highest clock in MHz."""
        driver = self._ask("nvmlSystemGetDriverVersion", alone=True)
        mig = self._ask("nvmlDeviceGetMigMode")
        return {
            "gpu_driver": driver.decode() if isinstance(driver, bytes) else driver,
            "gpu_persistence": self._ask("nvmlDeviceGetPersistenceMode"),
            "gpu_mig": mig[0] if isinstance(mig, (list, tuple)) else mig,
            "gpu_max_clock_mhz": self._ask("nvmlDeviceGetMaxClockInfo", self.nvml.NVML_CLOCK_SM),
        }

    def look(self, own: Sequence[int] | None = None) -> GpuLook:
        """Now; `own` are the processes that belong to the measurement (default: this one)."""
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        slowed = {}
        for name, policy in (("power", "NVML_PERF_POLICY_POWER"), ("heat", "NVML_PERF_POLICY_THERMAL")):
            found = self._ask("nvmlDeviceGetViolationStatus", getattr(self.nvml, policy, None))
            if found is not None:
                slowed[name] = int(found.violationTime)
        return GpuLook(
            reasons=int(self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0),
            slowed_ns=slowed,
            clock_mhz=self._ask("nvmlDeviceGetClockInfo", self.nvml.NVML_CLOCK_SM),
            memory_clock_mhz=self._ask("nvmlDeviceGetClockInfo", self.nvml.NVML_CLOCK_MEM),
            temperature_c=self._ask("nvmlDeviceGetTemperature", self.nvml.NVML_TEMPERATURE_GPU),
            power_w=None if milliwatts is None else milliwatts / 1000,
            foreign=self._foreign(set(own or [os.getpid()])),
        )

    def _foreign(self, own: set[int]) -> int | None:
        """Other processes with a context. In a container our own has another number; then one of them must be us."""
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if processes is None:
            return None
        others = [one.pid for one in processes if one.pid not in own]
        hidden = bool(others) and len(others) == len(processes)
        return len(others) - hidden

    def _ask(self, name: str, *more: Any, alone: bool = False) -> Any:
        """An answer of NVML, or None where this GPU or driver has none."""
        with contextlib.suppress(self.nvml.NVMLError, AttributeError):
            return getattr(self.nvml, name)(*([] if alone else [self.handle]), *more)
        return None


def find(index: int = 0) -> Gpu | str:
    """The GPU that torch calls `cuda:index`, or why nothing is known of it."""
    try:
        pynvml: Any = import_module("pynvml")
    except ImportError:
        return WITHOUT
    import torch

    try:
        pynvml.nvmlInit()
        return Gpu(pynvml, str(torch.cuda.get_device_properties(index).uuid))
    except (pynvml.NVMLError, AttributeError) as error:
        return f"GPU clocks, throttling and other processes are not known: {error}"


def disturbed(before: GpuLook, after: GpuLook) -> str | None:
    """Why a measurement between two looks is not to be trusted, or None."""
    told = [f"the GPU was slowed by {said}" for bit, said in SLOWED.items() if (before.reasons | after.reasons) & bit]
    for name, total in after.slowed_ns.items():
        if (held := total - before.slowed_ns.get(name, total)) > 0:
            told.append(f"the GPU's clocks were held down by {name} for {held / 1e6:.0f} ms")
    if foreign := max(before.foreign or 0, after.foreign or 0):
        told.append(f"{foreign} other process{'es' * (foreign > 1)} on the GPU")
    return "; ".join(told) or None
