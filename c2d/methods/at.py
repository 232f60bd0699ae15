"""Attention transfer: Paying More Attention to Attention. Zagoruyko, Komodakis, ICLR 2017.

https://arxiv.org/abs/1612.03928 (in full: "... Improving the Performance of Convolutional Neural Networks via Attention
Transfer"). Written for classification. The attention of a map is its strength at each position, over all channels:

    Q(F) = a / ||a||_2,   a = mean over channels of F^2      a vector of the h w positions, per sample
    att    L = sum over levels of the mean over samples and positions of (Q(S) - Q(T))^2

Student and teacher may differ in channels; there is no adaptation layer.

Departures from the paper or the released code:
  * This is the released code's form, the mean of the squared difference, not its norm. The mean divides by h w, and
    ||Q|| = 1: fine levels weigh less than coarse ones, and the weight depends on the resolution.
  * The maps are those of the neck, paired by stride; a student map of another size is resized to the teacher's first.
  * `beta` is the value of the classification examples; none is known for detection (unverified).
  * Padding of the batch takes part like every other cell.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import FeatureAdapter, identity_adapter, pair_levels

EPS = 1e-12
"""Least norm of an attention map: one of zeros stays zero."""


class ATParams(Params):
    """One weight, and the levels."""

    beta: float = Field(
        default=1000.0,
        ge=0,
        description="weight of att; 1000 in the authors' classification examples",
        json_schema_extra=unverified("no source for detection"),
    )
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )


class AT(Distiller):
    """Every detector; the teacher may be of another family. Term `att`."""

    NAME = "at"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = ATParams
    WEIGHTS: ClassVar = {"att": "beta"}
    COST = "teacher to its neck"
    SOURCE = "the authors' released code (classification); the weight for detection is unverified"

    def __init__(self, params: ATParams, context: Context) -> None:
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        self.needs = Needs(neck=params.beta > 0)
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels)
        # No adapter: Q averages over channels, so their number may differ.
        self.maps = FeatureAdapter(pairs, identity_adapter, "")
        self.notes += self.maps.notes

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute L of every level from the attention Q(S) and Q(T).

        Args:
            view: one training step, with the neck maps (B, M, h, w) of student and teacher.

        Returns:
            ({"att": scalar, fp32, sum over levels}, {}).
        """
        if not self.needs.neck:
            return {}, {}
        per_level = [at_of_level(s, t) for s, t in self.maps(view.student, view.teacher)]
        return {"att": Term(torch.stack(per_level).sum(), self.params.beta)}, {}

    @torch.no_grad()
    def visualize(self, view: View) -> list[Visualization]:
        """Show the attention Q of student and teacher on every level."""
        drawn = []
        for stride, pair in zip(self.maps.strides, self.maps.raw(view.student, view.teacher), strict=True):
            for who, maps in zip(("student", "teacher"), pair, strict=True):
                heat = attention(maps).unflatten(1, maps.shape[-2:])
                drawn.append(Visualization(f"attention of the {who}, stride {stride}", heat))
        return drawn


def attention(maps: Tensor) -> Tensor:
    """Q of every sample: (B, M, h, w) -> (B, h w), of norm 1."""
    return F.normalize(maps.square().mean(1).flatten(1), dim=1, eps=EPS)


def at_of_level(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the attention of (B, M_s, h, w) and (B, M_t, h, w)."""
    return F.mse_loss(attention(student), attention(teacher))
