"""One process or several: joining the group, and who writes.

Whoever starts the processes sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT: torchrun does, and
sweeps/node/job.py does it from what SLURM says. A rank that dies ends the others: under SLURM within seconds, by srun's
--kill-on-bad-exit; under torchrun by its agent; without either, gloo notices the closed connection at the next step,
and nccl at the latest after the time-out below, which has to be long because the first rank validates alone.
"""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from mmengine.dist import get_rank

from c2d.core.errors import RunError, first_line


def join() -> str:
    """Join the process group when one was asked for; returns this process's device, `cuda:N` or `cpu`.

    Raises:
        RunError: class `hang`: the ranks did not find each other, e.g. because the port is taken.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(device_index())
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.distributed.is_initialized():
        try:
            # the first rank validates alone, and the others wait for it
            torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(hours=3))
        except (torch.distributed.DistError, TimeoutError) as error:
            where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            rank = f"rank {os.environ.get('RANK')} of {os.environ.get('WORLD_SIZE')}"
            raise RunError(f"{rank} could not join the others at {where}: {first_line(error)}", "hang") from error
    return f"cuda:{device_index()}" if cuda else "cpu"


def device_index() -> int:
    """Which of the visible GPUs is this process's; where SLURM shows each process its own only, that is the first."""
    return int(os.environ.get("LOCAL_RANK", 0)) if torch.cuda.device_count() > 1 else 0


def is_main() -> bool:
    """True for the process that writes the run's files."""
    return get_rank() == 0
