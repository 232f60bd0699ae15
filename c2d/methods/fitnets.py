"""FitNets: Hints for Thin Deep Nets. Romero, Ballas, Kahou, Chassang, Gatta, Bengio, ICLR 2015.

https://arxiv.org/abs/1412.6550. Written for classification; as a detection baseline it is the mean squared error over
the whole map of every neck level, which equals DeFeat's neck loss with one mask of ones (its repository calls it so).

    hint   L = 1/(2 N) || phi(S) - T ||^2      N = B M h w, the elements of a level; mean over levels

Departures from the paper and from re-implementations:
  * The hint is trained together with the task; the paper first pre-trains the student's lower half on it.
  * `phi` is a 1x1 convolution (or 3x3, a parameter) for every neck level; the paper's regressor serves one layer.
  * `normalised` is the neck-mimic baseline of another toolbox: samples flattened and divided by their norm first.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View, unverified
from c2d.ops.adapters import FeatureAdapter, conv_adapter, pair_levels


class FitNetsParams(Params):
    """The paper has no weight for detection. 4 is that of objects in a re-implementation of DeFeat; the normalised
    form's known weight is 1."""

    lambda_hint: float = Field(
        default=4.0, ge=0, description="weight of the hint", json_schema_extra=unverified("no source for detection")
    )
    kernel: Literal[1, 3] = Field(default=1, description="side of phi's kernel")
    normalised: bool = Field(default=False, description="samples divided by their norm first; sum over elements")
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )


class FitNets(Distiller):
    """Every detector; the teacher may be of another family. Term `hint`."""

    NAME = "fitnets"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = FitNetsParams
    WEIGHTS: ClassVar = {"hint": "lambda_hint"}
    COST = "teacher to its neck"
    SOURCE = "general knowledge of the paper; the detection form from DeFeat's released code"

    def __init__(self, params: FitNetsParams, context: Context) -> None:
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        self.needs = Needs(neck=params.lambda_hint > 0)
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels) if self.needs.neck else []
        self.phi = FeatureAdapter(
            pairs, conv_adapter(params.kernel), f"by a {params.kernel}x{params.kernel} convolution"
        )
        self.notes += self.phi.notes

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute the hint of every level.

        Args:
            view: one training step, with the neck maps (B, M, h, w) of student and teacher.

        Returns:
            ({"hint": scalar, fp32, mean over levels}, {}).
        """
        if not self.needs.neck:
            return {}, {}
        hint = normalised_hint if self.params.normalised else plain_hint
        per_level = [hint(s, t) for s, t in self.phi(view.student, view.teacher)]
        return {"hint": Term(torch.stack(per_level).mean(), self.params.lambda_hint)}, {}


def plain_hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of (B, M, h, w) and (B, M, h, w)."""
    return 0.5 * F.mse_loss(student, teacher)


def normalised_hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared distance of the unit vectors of each sample (B, M, h, w), mean over the batch."""
    unit_s, unit_t = (F.normalize(maps.flatten(1), dim=1) for maps in (student, teacher))
    return (unit_s - unit_t).square().sum(1).mean()
