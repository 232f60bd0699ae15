"""Prepare the process that measures training steps, and time one step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


def prepare_process(threads: int | None) -> str:
    """Import what a training imports, set threads and seed, and return the device to measure on.

    Args:
        threads: CPU threads; None: torch's choice.

    Returns:
        "cuda" where torch has a GPU, else "cpu".
    """
    import c2d.training.build  # noqa: F401  (with all that a training imports)
    from c2d.detectors import compat

    compat.prepare()  # imports all of mmdet, as a training does
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    return "cuda" if torch.cuda.is_available() else "cpu"


def time_ms(call: Callable[[], Any], device: str) -> float:
    """Time one call in ms, on CUDA with all work that it queued."""
    # A call returns when its kernels are queued: without the first wait it would include earlier work.
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin)
