"""MGD: Masked Generative Distillation. Yang, Li, Shao, Shi, Yuan, Yuan, ECCV 2022.

https://arxiv.org/abs/2205.01529. Random cells of the student's map are set to zero, and a small generator has to
reconstruct the teacher's whole map from the cells that are left.

    gen   L = (1/B) sum ( Gen(M * phi(S)) - T )^2       M(cell) = 0 with probability lambda, else 1
          Gen = conv3x3 - ReLU - conv3x3                per neck level, summed; weight alpha

M is drawn for each image and level in every step and sets all channels of a cell to zero. phi is a 1x1 convolution
where the channel counts differ. Being a sum, the loss grows with the size and the width of the maps. It is not 0 at
S = T.

Departures from the paper or the released code:
  * Released values exist for RetinaNet and its like, and for Faster R-CNN; all one-stage students get the former, and
    Cascade R-CNN the latter.
  * All levels that both have, of two-stage detectors the finest four, as released.
  * M is drawn on the CPU from the run's own numbers, so that a run can be repeated on other hardware.
  * The released one-stage settings start the student's neck and head from the teacher's weights and clip gradients at
    a norm of 35; both belong to the schedule and are not done here.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization
from c2d.ops.adapters import FeatureAdapter, conv_adapter_if_needed, pair_levels

TWO_STAGE_LEVELS = 4
"""Levels, from the finest, of the released settings for Faster R-CNN; their weight belongs to these."""


class MGDParams(Params):
    """The paper's symbols; null takes the value of the released settings for the kind of detector."""

    BY_DETECTOR: ClassVar = {
        "one-stage": {"alpha": 2e-5, "lambda_mask": 0.65},
        "two-stage": {"alpha": 5e-7, "lambda_mask": 0.45},
    }

    alpha: float | None = Field(
        default=None, ge=0, description="weight of the term; null: 2e-5, of two-stage detectors 5e-7 (released)"
    )
    lambda_mask: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="probability that a cell is set to zero; null: 0.65, of two-stage detectors 0.45 (released)",
    )
    levels: tuple[int, ...] | None = Field(
        default=None,
        description="strides of the neck levels; null: all that both have, of two-stage detectors the finest four",
    )


class MGD(Distiller):
    """Every detector; the teacher may be of another family. Term `gen`."""

    NAME = "mgd"
    VERSION = 2
    TEACHERS = ("detector",)
    Params = MGDParams
    WEIGHTS: ClassVar = {"gen": "alpha"}
    COST = "teacher to its neck; two 3x3 convolutions of the teacher's width on every level"
    SOURCE = "released code and settings"
    needs = Needs(neck=True)

    def __init__(self, params: MGDParams, context: Context) -> None:
        student, teacher = context.layouts(self.NAME)
        super().__init__(params.with_detector_values(student))
        p = self.params
        finest = TWO_STAGE_LEVELS if student.stages == "two-stage" else None
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, p.levels, finest)
        used = pairs if p.alpha > 0 else []  # without the term nothing is trained, so that DDP waits for nothing
        self.phi = FeatureAdapter(used, conv_adapter_if_needed(1), "by a 1x1 convolution")
        self.gen = nn.ModuleList(generator(pair.teacher.channels) for pair in used)
        self.notes += [f"{student.detector}: alpha {p.alpha}, lambda {p.lambda_mask}", *self.phi.notes]

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Draw M, and compute L of what the generators make of the cells that are left.

        Args:
            view: one training step, with the neck maps (B, M, h, w) of student and teacher; `view.generator` draws
                M.

        Returns:
            ({"gen": scalar, fp32, sum over levels}, {"kept": mean of M over all levels}).
        """
        pairs = self.phi(view.student, view.teacher)
        if not pairs:
            return {}, {}
        masks = self._masks([t for _, t in pairs], view.generator)
        levels = zip(self.gen, masks, pairs, strict=True)
        value = torch.stack([generated_distance(gen(mask * s), t) for gen, mask, (s, t) in levels]).sum()
        kept = torch.stack([mask.mean() for mask in masks]).mean()
        return {"gen": Term(value, self.params.alpha)}, {"kept": kept}

    def visualize(self, view: View) -> list[Visualization]:
        """Show M of every level, as `forward` draws it in this step."""
        same = torch.Generator().set_state(view.generator.get_state())  # a copy: `forward` draws the same cells
        masks = self._masks([t for _, t in self.phi.raw(view.student, view.teacher)], same)
        named = zip(self.phi.strides, masks, strict=True)
        return [Visualization(f"cells left, stride {stride}", heat=mask[:, 0]) for stride, mask in named]

    def _masks(self, maps: list[Tensor], numbers: torch.Generator) -> list[Tensor]:
        return [kept_cells(one.shape, self.params.lambda_mask, numbers).to(one) for one in maps]


def kept_cells(shape: torch.Size, share: float, numbers: torch.Generator) -> Tensor:
    """M (B, 1, h, w) in {0, 1} for maps of `shape` (B, M, h, w): 0 with probability `share`. On the CPU."""
    images, _, height, width = shape
    # rand() is in [0, 1), so >= keeps every cell at 0 and none at 1.
    return (torch.rand(images, 1, height, width, generator=numbers) >= share).float()


def generator(channels: int) -> nn.Module:
    """Gen of one level."""
    first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
    return nn.Sequential(first, nn.ReLU(), second)


def generated_distance(generated: Tensor, teacher: Tensor) -> Tensor:
    """Sum of squared differences of (B, M, h, w) and (B, M, h, w), per image of the batch."""
    return (generated - teacher).square().sum() / len(teacher)
