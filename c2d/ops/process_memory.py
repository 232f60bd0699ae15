"""Peak memory of this process."""

from __future__ import annotations

import torch

from c2d.core.process.process_cost import resident_peak_mib


def memory_mib() -> float:
    """Peak memory of this process so far in MiB: allocated on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resident_peak_mib()
