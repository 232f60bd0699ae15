"""One process or several (`torchrun`): joining the group, and who writes."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from mmengine.dist import get_rank


def join() -> str:
    """Join the process group when torchrun started us; returns this process's device, `cuda:N` or `cpu`."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.distributed.is_initialized():
        # the first rank validates alone, and the others wait for it
        torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(hours=3))
    return f"cuda:{local}" if cuda else "cpu"


def is_main() -> bool:
    """True for the process that writes the run's files."""
    return get_rank() == 0
