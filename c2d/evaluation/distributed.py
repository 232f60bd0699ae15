"""Process group, device and rank of a training, and its model on several ranks.

The launcher sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT: torchrun does, and sweeps/node/job.py does
from SLURM's variables. When a rank dies, the others end too: under SLURM within seconds, by srun's --kill-on-bad-exit;
under torchrun by its agent; without either, gloo detects the closed connection at the next step, and nccl at the latest
after the time-out below, which has to be long: the others wait while rank 0 computes the metrics of a validation.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from mmengine.dist import get_dist_info, get_rank
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm

from c2d.core.errors import RunError, first_line
from c2d.detectors.families import IDLE_WITHOUT_POSITIVES, detector_family


def join_process_group() -> str:
    """Join the process group where WORLD_SIZE is above 1; return this process's device, `cuda:N` or `cpu`.

    Raises:
        RunError: of class `hang`: the ranks could not connect, e.g. because the port is taken.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(device_index())
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.distributed.is_initialized():
        try:
            # rank 0 computes the metrics alone, and the others wait for it
            torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(hours=3))
        except (torch.distributed.DistError, TimeoutError) as error:
            where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            rank = f"rank {os.environ.get('RANK')} of {os.environ.get('WORLD_SIZE')}"
            raise RunError(f"{rank} could not join the others at {where}: {first_line(error)}", "hang") from error
    return f"cuda:{device_index()}" if cuda else "cpu"


def device_index() -> int:
    """Return the index of this process's GPU; 0 where SLURM shows each process its own GPU only."""
    return int(os.environ.get("LOCAL_RANK", 0)) if torch.cuda.device_count() > 1 else 0


def is_main() -> bool:
    """Return whether this process writes the run's files: rank 0."""
    return get_rank() == 0


def data_parallel(model: Any, find_unused_parameters: bool = False) -> Any:
    """Return the model under DDP where there are several processes, else the model itself.

    SyncBN, where a student's config has it, is batch norm in one process, and on CPUs, where torch has none. DDP waits
    for the gradient of every weight, so a student whose box branch has none in an image without positives is searched
    for such weights at every step, which costs some time.

    Args:
        model: Distillation or CropClassifier, on its device.
        find_unused_parameters: search in any case.
    """
    world = get_dist_info()[1]
    if world == 1 or not torch.cuda.is_available():
        model = revert_sync_batchnorm(model)
    if world == 1:
        return model
    student = getattr(model, "student", None)
    may_idle = student is not None and detector_family(student) in IDLE_WITHOUT_POSITIVES
    return MMDistributedDataParallel(
        module=model,
        device_ids=[device_index()] if torch.cuda.is_available() else None,
        broadcast_buffers=False,  # as mmengine's Runner has it
        find_unused_parameters=find_unused_parameters or may_idle,
    )
