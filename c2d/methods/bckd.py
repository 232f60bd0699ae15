"""BCKD: Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object Detection. Yang et al., ICCV 2023.

Yang, Zhou, Li, Qiao, Li, Yang, Wang, Li; https://arxiv.org/abs/2308.14286. Dense heads score each class by a sigmoid,
while a softmax over classes distils what they never use; so each class of each location is a binary classification.
Boxes are compared as boxes, so that no edge distributions are needed:

    w     = |p_t - p_s| of each location and class                                  p = sigmoid(z)
    cls   L_cls = 1/K sum over locations and classes of w BCE(p_s, p_t)
    loc   L_loc = 1/K sum over locations of max_c(w) (1 - GIoU(b_s, b_t))           b: the decoded boxes
    L = L_det + alpha_1 L_cls + alpha_2 L_loc

K counts the student's positives. The graph of w is kept in L_cls, as released; in L_loc w is a constant.

Departures from the paper or the released code:
  * The paper writes IoU and plain sums; the released code, which gave the published AP, has GIoU and the divisor K.
    `iou: iou` is the paper's.
  * The released code computes both terms of a level only where it has a positive; here, as in the paper, all
    locations count.
  * A batch without positives teaches nothing, as released; the sums over its background have no divisor.
  * K of one process: the mean over processes is one of means. The released code takes the mean of K first.
  * All anchors count, those on padding too; the released code leaves out those that its assigner calls invalid.
  * The released settings are GFL's; the paper's tables have RetinaNet, FCOS, ATSS and YOLOX too, values unknown.
    The other heads (RTMDet, YOLOF, PAA, TOOD, VFNet) are ours. A score that is a product with objectness is one score.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.outputs import Needs
from c2d.detectors.recording.anchors import Priors
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import check_same_heads
from c2d.ops.boxes import broadcast_giou, broadcast_iou


class BCKDParams(Params):
    """The paper's weights, which are those of the authors' released GFL configurations."""

    alpha_1: float = Field(
        default=1.0, ge=0, description="weight of cls", json_schema_extra=unverified("GFL's; others unknown")
    )
    alpha_2: float = Field(
        default=4.0, ge=0, description="weight of loc", json_schema_extra=unverified("GFL's; others unknown")
    )
    iou: Literal["giou", "iou"] = Field(
        default="giou", description="measure of two boxes: `giou` as released, `iou` as the paper writes it"
    )


class BCKD(Distiller):
    """Sigmoid dense heads; the teacher's head needs the same layout and anchors. Terms `cls`, `loc`."""

    NAME = "bckd"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = BCKDParams
    WEIGHTS: ClassVar = {"cls": "alpha_1", "loc": "alpha_2"}
    DETECTORS = ("retinanet", "fcos", "atss", "gfl", "rtmdet", "yolox", "yolof", "paa", "tood", "vfnet")
    COST = "teacher to its head; every box of both decoded"
    SOURCE = "readers' notes of the paper; the authors' released code (TinyTigerPan/BCKD 851f5b4), GFL only"

    needs = Needs(positives=True, dense=True)

    def __init__(self, params: BCKDParams, context: Context) -> None:
        """Check that prediction r of both heads belongs to the same prior.

        Raises:
            InputError: the layouts or the priors differ, or the logits are those of a softmax.
        """
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        layout = check_same_heads(self.NAME, student, teacher, "choose a teacher of the student's family and settings")
        if layout.kind != "sigmoid":
            raise InputError(f"bckd compares sigmoid scores, and the heads have {layout}; use sigmoid heads")
        self.ours, self.theirs = (Priors(heads.dense_head(d)) for d in (context.student, context.detector.network))
        if not self.ours.same_priors(self.theirs):
            raise InputError(
                "bckd compares prediction by prediction, and the priors of student and teacher differ; choose a "
                "teacher with the student's anchors"
            )

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute `cls` and `loc` over all locations.

        Args:
            view: one training step: class logits (B, A * C, h, w) and box numbers of both, per level, and the student's
                positives.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, and the observed numbers of positives and the sum
            of max_c(w) over locations.
        """
        p, (student, teacher) = self.params, view.dense()
        positives = len(view.positives[-1].image)
        share = 1 / positives if positives else 0.0
        cls, gaps = [], []
        for z_s, z_t in zip(student.scores, teacher.scores, strict=True):
            value, gap = binary_distillation(rows_of(z_s, student.classes), rows_of(z_t, teacher.classes))
            cls.append(value)
            gaps.append(gap)
        gap = torch.cat(gaps, 1)
        terms = {}
        if p.alpha_1 > 0:
            terms["cls"] = Term(torch.stack(cls).sum() * share, p.alpha_1)
        if p.alpha_2 > 0:
            boxes, target = self.ours.decode(student), self.theirs.decode(teacher).detach()
            terms["loc"] = Term(box_distillation(boxes, target, gap, p.iou) * share, p.alpha_2)
        return terms, {"positives": gap.new_tensor(float(positives)), "class_gap": gap.sum()}

    @torch.no_grad()
    def visualize(self, view: View) -> list[Visualization]:
        """Show max_c(w) of every level, the greatest of the priors of a cell."""
        drawn = []
        student, teacher = view.dense()
        for stride, z_s, z_t in zip(student.strides, student.scores, teacher.scores, strict=True):
            gap = (z_t.sigmoid() - z_s.sigmoid()).abs().amax(1)
            drawn.append(Visualization(f"difference of class scores, stride {stride}", gap))
        return drawn


def rows_of(scores: Tensor, classes: int) -> Tensor:
    """Logits of a level (B, A * C, h, w) as rows (B, h * w * A, C), in the order of the priors."""
    return scores.permute(0, 2, 3, 1).reshape(len(scores), -1, classes)


def binary_distillation(z_s: Tensor, z_t: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the sum over locations and classes of w BCE(p_s, p_t), and max_c(w) without a graph.

    Args:
        z_s, z_t: logits (B, N, C) of student and teacher.

    Returns:
        A scalar, and (B, N).
    """
    p_t = z_t.detach().sigmoid()
    w = (p_t - z_s.sigmoid()).abs()
    value = (w * F.binary_cross_entropy_with_logits(z_s, p_t, reduction="none")).sum()
    return value, w.detach().amax(2)


def box_distillation(boxes: Tensor, target: Tensor, weight: Tensor, measure: str) -> Tensor:
    """Sum of weight (...) times 1 - IoU of boxes (..., 4) with the teacher's (..., 4), xyxy; `measure`: iou or giou."""
    overlap = broadcast_giou(boxes, target) if measure == "giou" else broadcast_iou(boxes, target)
    return (weight * (1 - overlap)).sum()
