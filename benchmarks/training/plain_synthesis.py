"""Synthesis of images as one would write it first: `detector.loss` on every step, on a fresh draw of the augmentation.

The reference that `c2d.impressions.pixels.optimise` is timed against and compared with: where that one draws again at
every step (`augmentation.interval` 1), both take the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from c2d.detectors.normalization import Normalization
from c2d.impressions.pixels.optimise import STAGES, input_range
from c2d.impressions.pixels.pixel_augmentation import draw
from c2d.impressions.sampling.targets import Targets
from c2d.ops.seeding import derive_seed, temporary_seed
from c2d.specs.impressions_schedule import ImpressionsSchedule


class PlainSynthesis:
    """The final stage of one batch, in single precision, from noise.

    Attributes:
        images: (B, 3, H, W) fp32 leaf in the detector's normalization.
        iteration: steps that are done.

    Args:
        network: mmdet detector in eval mode; its weights get gradients unless they are frozen.
        normalization: of its images.
        schedule: weights and augmentation.
        targets: per image.
        size: px, side of the images.
        key: (seed of the run, number of the batch).
        device: `cpu` or `cuda:N`.
    """

    def __init__(
        self, network: Any, normalization: Normalization, schedule: ImpressionsSchedule, targets: Sequence[Targets],
        size: int, key: tuple[int, int], device: str,
    ) -> None:  # fmt: skip
        self.network, self.schedule, self.targets, self.size = network, schedule, list(targets), size
        self.key, self.iteration = (*key, STAGES.index("final")), 0
        self.low, self.high = (bound.to(device) for bound in input_range(normalization))
        generator = torch.Generator().manual_seed(derive_seed(*self.key, 0))
        noise = schedule.final.noise * torch.randn(len(self.targets), 3, size, size, generator=generator).to(device)
        self.images = noise.clamp(self.low, self.high).requires_grad_()
        self.optimizer = torch.optim.Adam([self.images], lr=schedule.final.lr)
        self.norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        self.inputs: dict[nn.Module, list[Tensor]] = {}
        if schedule.priors.batch_norm:
            for layer in self.norms:
                layer.register_forward_pre_hook(self._keep_input)

    def step(self) -> dict[str, float]:
        """Take one step; return {`loss`: the sum, `loss_<term>`: its weighted terms}."""
        final, priors = self.schedule.final, self.schedule.priors
        rate = 0.5 * (1 + math.cos(math.pi * self.iteration / final.iterations))
        self.optimizer.param_groups[0]["lr"] = final.lr * (rate if self.schedule.policy == "cosine" else 1)
        seed = derive_seed(*self.key, 1, self.iteration)
        change = draw(self.schedule.augmentation, len(self.targets), self.size, np.random.default_rng(seed))
        self.inputs = {}
        with temporary_seed(seed):  # samplers draw at random
            found = self.network.loss(change.apply_images(self.images), self._samples(change))
        values = [value for name, value in found.items() if "loss" in name]
        detection = torch.stack([torch.stack(one).sum() if isinstance(one, list) else one for one in values]).sum()
        x = self.images
        down, right = x[:, :, 1:] - x[:, :, :-1], x[:, :, :, 1:] - x[:, :, :, :-1]
        terms: dict[str, Tensor | None] = {
            "detection": priors.detection * detection,
            "batch_norm": priors.batch_norm * self._statistics() if priors.batch_norm and self.norms else None,
            "tv_l1": priors.tv_l1 * (down.abs().mean() + right.abs().mean()),
            "tv_l2": priors.tv_l2 * ((down**2).mean() + (right**2).mean()),
            "l2": priors.l2 * (x**2).mean(),
        }
        used = {name: value for name, value in terms.items() if value is not None and getattr(priors, name)}
        loss = torch.stack(list(used.values())).sum()
        self.optimizer.zero_grad()
        self.network.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.images.clamp_(self.low, self.high)
        self.iteration += 1
        return {"loss": loss.item(), **{f"loss_{name}": value.item() for name, value in used.items()}}

    def _samples(self, change: Any) -> list[Any]:
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData

        shape = (self.size, self.size)
        meta = {"img_shape": shape, "pad_shape": shape, "batch_input_shape": shape, "scale_factor": (1.0, 1.0)}
        samples = []
        for target in self.targets:
            boxes, stays = change.apply_boxes(target.boxes * self.size, self.size)
            sample = DetDataSample(metainfo=meta)
            device = self.images.device
            sample.gt_instances = InstanceData(bboxes=boxes[stays].to(device), labels=target.labels[stays].to(device))
            sample.ignored_instances = InstanceData(
                bboxes=torch.zeros(0, 4, device=device), labels=torch.zeros(0, dtype=torch.long, device=device)
            )
            samples.append(sample)
        return samples

    def _keep_input(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.inputs.setdefault(layer, []).append(inputs[0])

    def _statistics(self) -> Tensor:
        """Return the distance between batch and running statistics, summed over the batch norms."""
        priors, total = self.schedule.priors, self.images.new_zeros(())
        for place, layer in enumerate(layer for layer in self.norms if layer in self.inputs):
            values = torch.cat([part.transpose(0, 1).flatten(1) for part in self.inputs[layer]], dim=1)
            mean, variance = values.mean(1), values.var(1, unbiased=False)
            apart = DISTANCES[priors.batch_norm_form](mean, variance, layer.running_mean, layer.running_var)
            total = total + (priors.first_batch_norm if place == 0 else 1) * apart
        return total


def _absolute(mean: Tensor, variance: Tensor, running_mean: Tensor, running_var: Tensor) -> Tensor:
    """Return |mean - running mean| + |variance - running variance|."""
    return torch.norm(mean - running_mean) + torch.norm(variance - running_var)


def _relative(mean: Tensor, variance: Tensor, running_mean: Tensor, running_var: Tensor) -> Tensor:
    """Return the root mean squares of both differences, in running standard deviations."""
    smallest = 0.01 * running_var.mean()
    deviation = torch.sqrt(torch.maximum(running_var, smallest))
    shift = (mean - running_mean) / deviation
    spread = torch.sqrt(variance + 1e-12) / deviation - 1
    return torch.sqrt((shift**2).mean() + 1e-12) + torch.sqrt((spread**2).mean() + 1e-12)


DISTANCES: dict[str, Any] = {"absolute": _absolute, "relative": _relative}
