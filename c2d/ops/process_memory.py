"""Peak memory of this process."""

from __future__ import annotations

import torch


def memory_mib() -> float:
    """Peak memory of this process so far in MiB: allocated on the GPU where there is one, else resident."""
    import resource  # not on Windows, where this module has to be imported as well

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
