"""What each of two gloo processes does with a method without a classifier teacher.

Each process has one of the two images. Its gradient without DDP is taken first; the mean of both has to be what DDP
leaves in both.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.c2d.methods.tiny_setup import Stage, stage

STUDENTS = {
    "ld": "gfl",
    "tadf": "faster",
    "chen": "faster",
    "defeat": "faster",
    "detrdistill": "deformable",
    "dkd": "faster",
}


class Taught(nn.Module):
    """The sum of the distillation terms, with every weight in the graph, as the task's losses would have it."""

    def __init__(self, play: Stage) -> None:
        super().__init__()
        self.model = play.model

    def forward(self, inputs: Tensor, samples: Any) -> Tensor:
        losses = self.model.loss(inputs, samples)
        terms = [value for key, value in losses.items() if key.startswith("loss_kd_")]
        idle = sum((weight.sum() for weight in self.model.parameters() if weight.requires_grad), torch.zeros(()))
        return torch.stack(terms).sum() + 0 * idle


def gradients(module: nn.Module, play: Stage, rank: int) -> dict[str, Tensor]:
    """Of one step on this process's image."""
    play.model.zero_grad(set_to_none=True)
    torch.manual_seed(rank)  # the sampling of RoIs
    total = module(play.inputs[rank : rank + 1], [play.samples[rank].clone()])
    total.backward()
    return {name: weight.grad.clone() for name, weight in play.model.named_parameters() if weight.grad is not None}


def deviation(name: str, rank: int) -> float:
    """Largest difference between DDP's gradient and the mean of the two, over the largest entry of the mean."""
    from tests.c2d.methods.training_set import samples_like

    play = stage(name, STUDENTS.get(name, "retinanet"), counts=(3, 0), start=0, ramp=0, samples=samples_like())
    play.model.gradient_check.check = lambda *_: None  # type: ignore[method-assign]
    taught = Taught(play)
    alone = gradients(taught, play, rank)
    mean = {}
    for key, value in alone.items():
        mean[key] = value.clone()
        dist.all_reduce(mean[key])
        mean[key] /= dist.get_world_size()
    together = gradients(DistributedDataParallel(taught, broadcast_buffers=False), play, rank)
    assert set(together) == set(alone)
    scale = max(float(value.abs().max()) for value in mean.values())
    assert scale > 0, f"{name}: no gradient at all"
    return max(float((together[key] - mean[key]).abs().max()) for key in mean) / scale
