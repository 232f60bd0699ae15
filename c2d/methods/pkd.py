"""PKD: General Distillation Framework for Object Detectors via Pearson Correlation Coefficient. Cao+, NeurIPS 2022.

Cao, Zhang, Gao, Cheng, Cheng, Lu. https://arxiv.org/abs/2207.02039. Maps of different detector families differ in
scale; so every channel is standardised first, and only its pattern is compared:

    F^ = (F - mean) / (std + 1e-6)                 per channel, over the n = B h w values of the batch; std over n - 1
    pkd    L = sum over levels of 1/2 mean over all elements of (S^ - T^)^2

which is (1 - r) (n - 1) / n, averaged over channels, with Pearson's correlation r.

Departures from the paper or the released code:
  * The paper has no adaptation layer and needs equal channel counts. Where they differ, a 1x1 convolution is ours; the
    log names it. It can be avoided by a teacher whose neck is as wide as the student's.
  * The weights are released for RetinaNet and Faster R-CNN students; that other one-stage and two-stage students get
    the same is ours (unverified).
  * The finest four levels that both necks have, as the released configurations for Faster R-CNN and RetinaNet name
    them (FPN 0 to 3); that other students get the finest four is ours (unverified). The term is a sum over levels: a
    fifth one would add a quarter to it.
  * Levels pair by stride; a student map of another size is resized to the teacher's first, as released.
  * A channel of one value only (a single image on a 1x1 map) counts as 0; its deviation would not be a number.
  * Samples are coupled through the statistics: a batch is not the sum of its images, and under several GPUs each has
    its own, as released. Padding of the batch takes part.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View, unverified
from c2d.ops.adapters import FeatureAdapter, conv_adapter_if_needed, pair_levels

EPS = 1e-6
"""Added to the deviation; a dead channel divides by it."""
LEVELS = 4
"""Levels, from the finest, that the released configurations use."""


class PKDParams(Params):
    """As released: 6 for Faster R-CNN, 10 for RetinaNet under a RetinaNet or FCOS teacher."""

    BY_DETECTOR: ClassVar[dict[str, dict[str, Any]]] = {
        "one-stage": {"lambda_pkd": 10.0},
        "two-stage": {"lambda_pkd": 6.0},
    }

    lambda_pkd: float | None = Field(
        default=None,
        ge=0,
        description="weight of pkd; null: 10 (released for RetinaNet), two-stage 6 (released for Faster R-CNN)",
        json_schema_extra=unverified("confirmed for RetinaNet and Faster R-CNN students only"),
    )
    levels: tuple[int, ...] | None = Field(
        default=None,
        description="strides of the neck levels, e.g. [4, 8, 16, 32]; null: the finest four that both have",
        json_schema_extra=unverified("four levels are confirmed for RetinaNet and Faster R-CNN students only"),
    )


class PKD(Distiller):
    """Every detector; the teacher may be of another family. Term `pkd`."""

    NAME = "pkd"
    VERSION = 2
    TEACHERS = ("detector",)
    Params = PKDParams
    WEIGHTS: ClassVar = {"pkd": "lambda_pkd"}
    COST = "teacher to its neck"
    SOURCE = "released code and configurations (mmrazor), for RetinaNet and Faster R-CNN students"

    def __init__(self, params: PKDParams, context: Context) -> None:
        student, teacher = context.layouts(self.NAME)
        super().__init__(params.with_detector_values(student))
        self.needs = Needs(neck=self.params.lambda_pkd > 0)
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels, LEVELS)
        ours = "by a 1x1 convolution of ours (the paper has none: it needs equal channel counts)"
        self.phi = FeatureAdapter(pairs if self.needs.neck else [], conv_adapter_if_needed(1), ours)
        self.notes += [f"lambda_pkd {self.params.lambda_pkd:g}", *self.phi.notes]

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute L of every level from the standardised maps S^ and T^.

        Args:
            view: one training step, with the neck maps (B, M, h, w) of student and teacher.

        Returns:
            ({"pkd": scalar, fp32, sum over levels}, {}).
        """
        if not self.needs.neck:
            return {}, {}
        per_level = [pkd_of_level(s, t) for s, t in self.phi(view.student, view.teacher)]
        return {"pkd": Term(torch.stack(per_level).sum(), self.params.lambda_pkd)}, {}


def standardised(maps: Tensor) -> Tensor:
    """F^ of (B, M, h, w): each channel over batch and positions."""
    values = maps.numel() // maps.shape[1]
    # The unbiased deviation, as released; of one value it would be NaN.
    std = maps.std((0, 2, 3), correction=min(1, values - 1), keepdim=True)
    return (maps - maps.mean((0, 2, 3), keepdim=True)) / (std + EPS)


def pkd_of_level(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of the standardised maps (B, M, h, w)."""
    return 0.5 * F.mse_loss(standardised(student), standardised(teacher))
