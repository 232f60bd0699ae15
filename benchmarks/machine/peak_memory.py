"""What a process holds, and its peak since a given moment, in MiB.

On a CPU memory is resident memory, which begins with the interpreter and its packages; so everything is told beyond
what was held once they were imported. On CUDA it is `torch.cuda.max_memory_allocated`: tensors alone, without the
context and without what the caching allocator keeps.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
MEMORY = ("can't allocate memory", "out of memory", "failed to allocate", "bad_alloc", "bad alloc", "not enough memory")
"""What libraries say when a batch does not fit."""


def resident_mib() -> float:
    """What this process holds now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_peak_mib() -> float:
    """The largest resident size of this process so far, or since `forget`.

    Linux's VmHWM: `ru_maxrss` of a child begins with what its parent had reached, for it outlives the exec.
    """
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) / 1024
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def base_mib(device: str) -> float:
    """What peaks of this process are told beyond: resident memory now; 0 on CUDA, where tensors alone count."""
    if device.startswith("cuda"):
        return 0.0
    import torchvision  # noqa: F401  (the stand-ins of compiled operators load it at their first call: 100 MiB)

    _give_back()
    return resident_mib()


def forget(device: str) -> None:
    """Peaks are those from now on: what building and compiling took at its height is no part of a call."""
    _give_back()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")


def of_calls(call: Callable[[], Any], device: str, base: float, times: int = 2) -> float:
    """The peak of `times` calls beyond `base`, MiB; allocators settle at the second."""
    forget(device)
    for _ in range(times):
        call()
    return peak_mib(device, base)


def caveat(device: str) -> str:
    """What peaks of this system hold beside what they should, in one line; "" where they hold nothing else."""
    if device.startswith("cuda") or os.access(CLEAR, os.W_OK):
        return ""
    return f"memory: this system cannot begin a peak anew ({CLEAR} is not to be written), so building is in it"


def peak_mib(device: str, base: float) -> float:
    """The peak since `forget`, beyond `base` (see `base_mib`)."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    return resident_peak_mib() - base


def short_of_memory(error: BaseException) -> bool:
    """Whether an error says that something did not fit in memory."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(said in text for said in MEMORY)
    )


def let_go(device: str) -> None:
    """After a call that did not fit: what it left behind is free for the next."""
    _give_back()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def _give_back() -> None:
    """Free memory goes back to the system: glibc keeps it, and elsewhere there is no such call."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
