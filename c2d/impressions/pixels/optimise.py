"""Optimisation of the pixels of one batch of images against a frozen teacher.

`Optimisation` is one stage of one batch: it starts from noise or from images, every `step` is one step of Adam, and its
state can be stored and loaded after any step. All random numbers follow from (seed, batch, stage, step).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.core.errors import InputError, RunError
from c2d.detectors.normalization import Normalization
from c2d.impressions.pixels.pixel_augmentation import draw
from c2d.impressions.pixels.priors import BatchNormStatistics, total_variation
from c2d.impressions.pixels.teacher_losses import TeacherLosses
from c2d.impressions.sampling.targets import Targets
from c2d.ops.seeding import derive_seed, temporary_seed
from c2d.specs.impressions_schedule import ImpressionsSchedule, Stage
from c2d.teachers.detector import DetectorTeacher

STAGES = ("draft", "final")
AUTOCAST = {"amp-fp16": torch.float16, "amp-bf16": torch.bfloat16}


def input_range(normalization: Normalization) -> tuple[Tensor, Tensor]:
    """Return the normalised values of 0 and 255 of each channel, (3, 1, 1) each."""
    mean, std = torch.tensor(normalization.mean)[:, None, None], torch.tensor(normalization.std)[:, None, None]
    return (0 - mean) / std, (255 - mean) / std


def to_uint8(images: Tensor, normalization: Normalization) -> np.ndarray[Any, Any]:
    """Return (B, H, W, 3) uint8 RGB of images (B, 3, H, W) in a normalization."""
    mean, std = images.new_tensor(normalization.mean), images.new_tensor(normalization.std)
    values = images * std[:, None, None] + mean[:, None, None]
    values = values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()
    return values.flip(3).numpy() if normalization.order == "bgr" else values.numpy()


class Optimisation:
    """One stage of one batch.

    Attributes:
        images: (B, 3, H, W) fp32 leaf in the teacher's normalization; nothing else has a gradient.
        targets: per image; `adaptive_targets` may replace them between two steps.
        iteration: steps that are done.

    Args:
        teacher: frozen.
        losses: its losses, entered.
        statistics: of its batch norms, None to leave that prior out.
        schedule: weights and augmentation.
        stage: `draft` or `final`.
        targets: per image.
        size: px, side of the images.
        key: (seed of the run, number of the batch).
        start: (B, 3, h, w) images of the stage before, or None for noise.
        device: `cpu` or `cuda:N`.
    """

    def __init__(
        self, teacher: DetectorTeacher, losses: TeacherLosses, statistics: BatchNormStatistics | None,
        schedule: ImpressionsSchedule, stage: str, targets: Sequence[Targets], size: int, key: tuple[int, int],
        start: Tensor | None, device: str,
    ) -> None:  # fmt: skip
        self.losses, self.statistics, self.schedule = losses, statistics, schedule
        self.stage: Stage = getattr(schedule, stage)
        self.targets, self.size, self.iteration = list(targets), size, 0
        self.low, self.high = (bound.to(device) for bound in input_range(teacher.normalization))
        self.key = (*key, STAGES.index(stage))
        if start is None:
            generator = torch.Generator().manual_seed(derive_seed(*self.key, 0))
            start = self.stage.noise * torch.randn(len(self.targets), 3, size, size, generator=generator)
        elif start.shape[-1] != size:
            start = F.interpolate(start, size=(size, size), mode="bilinear", align_corners=False)
        start = start.to(device, memory_format=torch.channels_last)
        self.images = start.clamp(self.low, self.high).detach().clone().requires_grad_()
        self.optimizer = torch.optim.Adam([self.images], lr=self.stage.lr)
        # Half precision only where the scaler and autocast of CUDA exist; the schedule is refused elsewhere.
        self.precision = AUTOCAST.get(schedule.precision)
        self.scaler = torch.amp.GradScaler(enabled=self.precision == torch.float16)
        self.draw = draw(schedule.augmentation, len(self.targets), size, np.random.default_rng(0))

    @property
    def is_done(self) -> bool:
        """Whether all steps of the stage are done."""
        return self.iteration >= self.stage.iterations

    @property
    def is_before_draw(self) -> bool:
        """Whether the next step begins with a new draw, so that nothing but the state is needed to go on."""
        return self.iteration % self.schedule.augmentation.interval == 0

    def step(self) -> dict[str, Tensor]:
        """Take one step.

        Returns:
            {`loss`: the sum, `loss_<term>`: its weighted terms}, of shape () without graph.

        Raises:
            InputError: no term is left.
            RunError: the loss is not finite, of class `nan`.
        """
        if self.is_before_draw:
            self.assign()
        rate = 0.5 * (1 + math.cos(math.pi * self.iteration / self.stage.iterations))
        if self.schedule.policy == "cosine":
            self.optimizer.param_groups[0]["lr"] = self.stage.lr * rate
        terms = self._terms()
        loss = torch.stack(list(terms.values())).sum()
        if not bool(loss.isfinite()):
            raise RunError(f"the loss is not finite after {self.iteration} steps: lower the learning rate", "nan")
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            self.images.clamp_(self.low, self.high)
        self.iteration += 1
        return {"loss": loss.detach(), **{f"loss_{name}": value.detach() for name, value in terms.items()}}

    def assign(self) -> None:
        """Draw shift, flip and cutout for the next steps, and assign the teacher's targets on them."""
        seed = derive_seed(*self.key, 1, self.iteration)
        recipe = self.schedule.augmentation
        self.draw = draw(recipe, len(self.targets), self.size, np.random.default_rng(seed))
        boxes, labels, soft = [], [], []
        for target in self.targets:
            moved, stays = self.draw.apply_boxes(target.boxes * self.size, self.size)
            device = self.images.device
            boxes.append(moved[stays].to(device))
            labels.append(target.labels[stays].to(device))
            soft.append(target.soft_labels[stays].to(device))
        with torch.no_grad(), temporary_seed(seed), self._autocast():  # RPN and RoI sampler draw at random
            self.losses.assign(self.draw.apply_images(self.images.detach()), boxes, labels, soft)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of the stage. Only where `is_before_draw`: an assignment is not stored."""
        return {
            "iteration": self.iteration,
            "images": self.images.detach().cpu(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "targets": [(one.boxes, one.labels, one.soft_labels) for one in self.targets],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the step of a `state_dict`; the next step is that of the uninterrupted run."""
        with torch.no_grad():
            self.images.copy_(state["images"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.targets = [Targets(*one) for one in state["targets"]]
        self.iteration = state["iteration"]

    def _terms(self) -> dict[str, Tensor]:
        """Return the weighted terms of the loss, with the graph of the images."""
        weights = self.schedule.priors
        images = self.draw.apply_images(self.images)
        with ExitStack() as stack:
            if self.statistics is not None:
                stack.enter_context(self.statistics.recorded())
            with self._autocast():
                found = self.losses.compute(images)
        terms = {}
        if weights.detection:
            terms["detection"] = weights.detection * torch.stack([value.float() for value in found.values()]).sum()
        if self.statistics is not None:
            terms["batch_norm"] = weights.batch_norm * self.statistics.distance()
        if weights.tv_l1:
            terms["tv_l1"] = weights.tv_l1 * total_variation(self.images, 1)
        if weights.tv_l2:
            terms["tv_l2"] = weights.tv_l2 * total_variation(self.images, 2)
        if weights.l2:
            terms["l2"] = weights.l2 * self.images.square().mean()
        if not terms:  # batch_norm was the only one, and the teacher has no batch norm
            raise InputError("no term is left without prior batch_norm; give priors.detection a weight above 0")
        return terms

    def _autocast(self) -> Any:
        return torch.autocast(self.images.device.type, self.precision, enabled=self.precision is not None)
