"""CWD: Channel-wise Knowledge Distillation for Dense Prediction. Shu, Liu, Gao, Yan, Shen, ICCV 2021.

https://arxiv.org/abs/2011.13256. Each channel is a distribution over the positions of the map; the student learns where
a channel of the teacher is active, not how strongly:

    p = sm(T / tau),   q = sm(phi(S) / tau)                 softmax over the h w positions of each channel
    cwd    L = sum over levels of tau^2 / (B M) sum over images and channels of KL(p || q)

`phi` is a 1x1 convolution where student and teacher differ in channels, else the identity.

Departures from the paper or the released code:
  * `form: ce` is the older of two released detection versions: the cross-entropy of p and q, which is the KL plus the
    teacher's entropy. Same gradient, a value that does not fall to 0.
  * All levels that both necks have, as in the released 1x configurations (five levels, weight 10). Another one
    (RetinaNet, 2x) has the finest four and weight 5: set `levels` and `lambda_cwd`.
  * The term on class logits is left out: the released configuration of that name inherits the neck's maps.
  * Levels pair by stride; a student map of another size is resized to the teacher's first.
  * Padding of the batch takes part in the softmax, as released.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View
from c2d.ops.adapters import FeatureAdapter, conv_adapter_if_needed, pair_levels


class CWDParams(Params):
    """Values of the released 1x configurations for Faster R-CNN, RetinaNet and GFL."""

    lambda_cwd: float = Field(
        default=10.0, ge=0, description="weight of cwd; 10 in released 1x configurations, 5 in one for RetinaNet 2x"
    )
    tau: float = Field(default=1.0, gt=0, description="temperature of the softmax over positions; 1 as released")
    form: Literal["kl", "ce"] = Field(
        default="kl", description="KL divergence (0 at equality), or cross-entropy (same gradient); both are released"
    )
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )


class CWD(Distiller):
    """Every detector; the teacher may be of another family. Term `cwd`."""

    NAME = "cwd"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = CWDParams
    WEIGHTS: ClassVar = {"cwd": "lambda_cwd"}
    COST = "teacher to its neck"
    SOURCE = "two released detection versions (mmrazor, mmdetection-distiller)"

    def __init__(self, params: CWDParams, context: Context) -> None:
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        self.needs = Needs(neck=params.lambda_cwd > 0)
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels)
        self.phi = FeatureAdapter(pairs if self.needs.neck else [], conv_adapter_if_needed(1), "by a 1x1 convolution")
        self.notes += self.phi.notes

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute L of every level from the channel distributions p and q.

        Args:
            view: one training step, with the neck maps (B, M, h, w) of student and teacher.

        Returns:
            ({"cwd": scalar, fp32, sum over levels}, {}).
        """
        p = self.params
        if not self.needs.neck:
            return {}, {}
        per_level = [cwd_of_level(s, t, p.tau, p.form) for s, t in self.phi(view.student, view.teacher)]
        return {"cwd": Term(torch.stack(per_level).sum(), p.lambda_cwd)}, {}


def cwd_of_level(student: Tensor, teacher: Tensor, tau: float = 1.0, form: str = "kl") -> Tensor:
    """tau^2 / (B M) times the KL (or cross-entropy) over positions, summed over images and channels.

    Args:
        student: (B, M, h, w), adapted.
        teacher: (B, M, h, w).
    """
    log_q, log_p = ((maps.flatten(2) / tau).log_softmax(2) for maps in (student, teacher))
    distance = log_p - log_q if form == "kl" else -log_q
    # The mean over images and channels is the 1 / (B M) of the formula; tau^2 keeps the gradient's scale.
    return tau**2 * (log_p.exp() * distance).sum(2).mean()
