"""FRS: Distilling Object Detectors with Feature Richness. Du, Zhang, Chang, Zhang, Liu, Chen, Chen, NeurIPS 2021.

https://arxiv.org/abs/2111.00674. A cell matters as much as the teacher's best class score there, object or not; no
ground truth is used. Per level of the pyramid, Y the sigmoid scores (of a two-stage detector the RPN's):

    mask   M = max over channels of Y_t, detached                                                (B, h, w)
    feat   L = sum over levels of  sum_cells M sum_c (phi(S) - T)^2 / sum_cells M
    cls    L = sum over levels of  sum_cells M sum_channels BCE(Y_s, Y_t) / sum_cells M

phi is a 3x3 convolution for each level. Cells are those of the whole batch; levels are summed, channels too.

Departures from the paper or the released code:
  * Weights are those of the released configurations; the paper's own are unverified. SSD and ATSS have none and get
    RetinaNet's, Cascade R-CNN gets Faster R-CNN's: ours, unverified.
  * cls takes logits, and the outputs that the head computed for its own loss; the released code runs the head again
    and compares probabilities. Value and gradient are the same.
  * Softmax heads (SSD), which the paper does not cover: M is the greatest foreground probability, cls the
    cross-entropy -sum Y_t log Y_s of every prior's softmax, background included. Ours.
  * FCOS: class scores without centre-ness; GFL: its joint scores, as released. YOLOX: class times objectness, because
    its class scores alone are trained at positives only; TOOD's scores are turned into logits; ours.
  * cls at equal scores is the teacher's entropy, not 0; its gradient is 0 there.
  * feat alone (gamma: 0) takes a teacher of another family: the mask needs only the teacher, levels pair by stride.
  * sum M is at least 1e-12.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.heads import WITH_DENSE, LogitKind, dense_head
from c2d.detectors.outputs import Needs
from c2d.detectors.recording.anchors import Priors
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import FeatureAdapter, check_same_heads, conv_adapter, pair_levels
from c2d.ops.masks import square_distance

SOME = unverified("released for RetinaNet, FCOS, GFL and Faster R-CNN; ours for others; the paper's own are not known")


class FRSParams(Params):
    """Weights differ by detector; both rise over the first 500 iterations, as released."""

    BY_DETECTOR: ClassVar = {
        "one-stage": {"alpha": 0.005, "gamma": 0.02},
        "two-stage": {"alpha": 0.002, "gamma": 0.1},
        "fcos": {"alpha": 0.01, "gamma": 0.05},
        "gfl": {"alpha": 0.1, "gamma": 0.05},
    }

    alpha: float | None = Field(
        default=None, ge=0, description="weight of feat; null: the detector's, see by_detector", json_schema_extra=SOME
    )
    gamma: float | None = Field(
        default=None, ge=0, description="weight of cls; null: the detector's, see by_detector", json_schema_extra=SOME
    )
    ramp: int = Field(
        default=500, ge=0, description="iterations from `start` over which the weight rises linearly to 1; as released"
    )
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the levels of both terms, e.g. [8, 16, 32]; null: all that both have"
    )


class FRS(Distiller):
    """Every detector with a dense head or an RPN. Terms `feat` (neck) and `cls` (head; laid out like the teacher's)."""

    NAME = "frs"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = FRSParams
    WEIGHTS: ClassVar = {"feat": "alpha", "cls": "gamma"}
    DETECTORS = WITH_DENSE
    COST = "teacher to its dense head (RPN); a 3x3 convolution a level"
    SOURCE = "the authors' released code (duzhixing/FRS decd60c)"

    def __init__(self, params: FRSParams, context: Context) -> None:
        student, teacher = context.layouts(self.NAME)
        super().__init__(params.with_detector_values(student))
        self.notes.append(f"{student.detector}: alpha {self.params.alpha}, gamma {self.params.gamma}")
        if teacher.dense is None:
            raise InputError(
                f"frs masks by the teacher's dense head, and that of {teacher.detector} cannot be read; "
                f"choose a teacher of {', '.join(self.DETECTORS)}"
            )
        if self.params.gamma > 0:
            remedy = "choose a teacher of the student's family, or leave the term cls out: method.frs.gamma: 0"
            check_same_heads(self.NAME, student, teacher, remedy)
            ours, theirs = (Priors(dense_head(detector)) for detector in (context.student, context.detector.network))
            if not ours.same_priors(theirs):
                raise InputError(
                    f"frs compares scores prior by prior, and the teacher's head has other anchors or points; {remedy}"
                )
        # M needs the teacher's scores: a neck level without them is left out.
        scored = set(teacher.dense.strides) & {level.stride for level in teacher.neck}
        common = [level.stride for level in student.neck if level.stride in scored]
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, common if params.levels is None else params.levels)
        self.strides = [pair.stride for pair in pairs]
        self.places = [teacher.dense.strides.index(stride) for stride in self.strides]
        self.needs = Needs(neck=self.params.alpha > 0, dense=True)
        if self.params.alpha > 0:
            self.phi = FeatureAdapter(pairs, conv_adapter(3), "by a 3x3 convolution")
            self.notes += self.phi.notes

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute `feat` and `cls` under the masks M.

        Args:
            view: one training step: neck maps (B, M, h, w) and class logits (B, A * C, h, w) of both, per level.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, each the sum over levels; observed: the sum of
            M, one for each level.
        """
        p, terms, masks = self.params, {}, self.masks(view)
        if p.alpha > 0:
            maps = zip(self.phi(view.student, view.teacher), masks, strict=True)
            feat = [weighted(square_distance(s, t)[:, 0], mask) for (s, t), mask in maps]
            terms["feat"] = Term(torch.stack(feat).sum(), p.alpha)
        if p.gamma > 0:
            ours, theirs = view.dense()
            logits = [(ours.scores[place], theirs.scores[place]) for place in self.places]
            cls = [weighted(cross_entropy(s, t, ours.classes, ours.kind), mask)
                   for (s, t), mask in zip(logits, masks, strict=True)]  # fmt: skip
            terms["cls"] = Term(torch.stack(cls).sum(), p.gamma)
        return terms, {f"richness_{stride}": m.sum() for stride, m in zip(self.strides, masks, strict=True)}

    def masks(self, view: View) -> list[Tensor]:
        """M of each level that is compared: (B, h, w)."""
        _, teacher = view.dense()
        return [richness(teacher.scores[place], teacher.classes, teacher.kind) for place in self.places]

    def visualize(self, view: View) -> list[Visualization]:
        """Show M of every level."""
        return [Visualization(f"richness, stride {s}", m) for s, m in zip(self.strides, self.masks(view), strict=True)]


def richness(logits: Tensor, classes: int, kind: LogitKind) -> Tensor:
    """M (B, h, w) of logits (B, A * C, h, w): the greatest score; of softmax heads among the foreground, C - 1."""
    if kind == "sigmoid":
        return logits.detach().amax(1).sigmoid()  # monotonic: the maximum may be taken first
    return logits.detach().unflatten(1, (-1, classes)).softmax(2)[:, :, :-1].amax((1, 2))


def weighted(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, h, w) weighted by M (B, h, w): a scalar."""
    return (mask * values).sum() / mask.sum().clamp(min=1e-12)


def cross_entropy(student: Tensor, teacher: Tensor, classes: int, kind: LogitKind) -> Tensor:
    """(B, h, w): the teacher's scores as soft targets of logits (B, A * C, h, w), summed over channels."""
    teacher = teacher.detach()
    if kind == "sigmoid":
        return F.binary_cross_entropy_with_logits(student, teacher.sigmoid(), reduction="none").sum(1)
    z_s, z_t = (z.unflatten(1, (-1, classes)) for z in (student, teacher))
    return -(z_t.softmax(2) * z_s.log_softmax(2)).sum((1, 2))
