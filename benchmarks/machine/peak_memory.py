"""Measure the memory of this process and its peak since a reset, in MiB.

On a CPU that is resident memory beyond a baseline, which is taken after the packages are imported. On CUDA it is
`torch.cuda.max_memory_allocated`: tensors alone, without the context and the cache of the allocator.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from c2d.core.process.process_cost import resident_peak_mib

CLEAR_REFS = Path("/proc/self/clear_refs")
OUT_OF_MEMORY_TEXTS = (
    "can't allocate memory",
    "out of memory",
    "failed to allocate",
    "bad_alloc",
    "bad alloc",
    "not enough memory",
)
"""Parts of the messages of libraries when a batch does not fit."""


def resident_mib() -> float:
    """Return the resident memory of this process in MiB; 0 where the system does not report it."""
    try:
        # Fields of statm, in pages: total size, resident size, ...
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def baseline_mib(device: str) -> float:
    """Return the resident memory now (MiB), which is subtracted from peaks; 0 on CUDA, where tensors alone count."""
    if device.startswith("cuda"):
        return 0.0
    import torchvision  # noqa: F401  (pure-Python operators of mmcv load it at their first call: 100 MiB)

    _trim_heap()
    return resident_mib()


def reset_peak(device: str) -> None:
    """Reset the peak, so that memory which building and compiling needed does not count."""
    _trim_heap()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        # 5 sets VmHWM to the current resident memory (man 5 proc).
        CLEAR_REFS.write_text("5")


def peak_of_calls(call: Callable[[], Any], device: str, baseline: float, times: int = 2) -> float:
    """Return the peak (MiB) of `times` calls beyond `baseline`. Allocators reach their size at the second call."""
    reset_peak(device)
    for _ in range(times):
        call()
    return peak_mib(device, baseline)


def peak_caveat(device: str) -> str:
    """Return one line on what peaks include on this system beyond the calls; "" where they include nothing else."""
    if device.startswith("cuda") or os.access(CLEAR_REFS, os.W_OK):
        return ""
    return f"memory: this system cannot begin a peak anew ({CLEAR_REFS} is not to be written), so building is in it"


def peak_mib(device: str, baseline: float) -> float:
    """Return the peak (MiB) since `reset_peak`, beyond `baseline` (see `baseline_mib`)."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    return resident_peak_mib() - baseline


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports that something did not fit in memory."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(part in text for part in OUT_OF_MEMORY_TEXTS)
    )


def release_memory(device: str) -> None:
    """Free what a failed call has left, for the next call."""
    _trim_heap()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def _trim_heap() -> None:
    gc.collect()
    # glibc keeps freed memory until a call returns it to the system; other C libraries have no such call.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
