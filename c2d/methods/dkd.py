"""DKD: Decoupled Knowledge Distillation. Zhao, Cui, Song, Qiu, Liang, CVPR 2022. On the class logits of RoI heads.

https://arxiv.org/abs/2203.08679. Distillation of a softmax is split into the target class y and the classes beside it,
and each part gets its own weight. Ordinary distillation is TCKD + (1 - p_t,y) NCKD: it hardly teaches the other classes
where the teacher is sure.

    tckd   (T^2 / R) sum over RoIs of KL(b_t || b_s)      b = (p_y, 1 - p_y), p = sm(z / T)
    nckd   (T^2 / R) sum over RoIs of KL(q_t || q_s)      q: softmax of z / T without class y
    L = L_det + alpha tckd + beta nckd

R counts all RoIs that the student sampled, positives and background; the teacher predicts on the same RoIs. y is the
label of the sampling; background is one of the C + 1 classes.

Departures from the paper or the released code:
  * Both parts come from log-softmax and log-sum-exp; the released code takes the logarithm of sums of probabilities and
    leaves class y out by subtracting 1000 from its logit. Equal, except where a probability underflows.
  * A student of one class has one class beside the target, so that nckd is 0: it is left out.
  * Cascades (ours): the last stage.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from c2d.detectors.outputs import Needs
from c2d.detectors.recording import roi_stage
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization


class DKDParams(Params):
    """Values of the authors' detection configurations: Faster R-CNN with FPN on COCO."""

    alpha: float = Field(default=1.0, ge=0, description="weight of tckd; as released")
    beta: float = Field(default=0.25, ge=0, description="weight of nckd; as released for detection")
    T: float = Field(default=1.0, gt=0, description="temperature; as released for detection")


class DKD(Distiller):
    """Two-stage students and teachers of the same classes. Terms `tckd`, `nckd`."""

    NAME = "dkd"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = DKDParams
    WEIGHTS: ClassVar = {"tckd": "alpha", "nckd": "beta"}
    DETECTORS = ("faster-rcnn", "cascade-rcnn")
    COST = "teacher to its neck, its second stage on the student's RoIs"
    SOURCE = "the authors' released code (megvii-research/mdistiller e8c5bb3, MIT)"

    needs = Needs(rois=True)

    def __init__(self, params: DKDParams, context: Context) -> None:
        super().__init__(params)
        context.layouts(self.NAME)
        roi_stage.check_roi_stages(self.NAME, context.student, context.detector, context.num_classes)
        self.other_classes = context.num_classes > 1
        if not self.other_classes:
            self.notes.append("one class and background: nckd compares one class with itself and is left out")

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute the enabled parts on the student's RoIs.

        Args:
            view: one training step: logits (R, C + 1), background last, of both on the student's RoIs.

        Returns:
            Scalars in fp32: the trained terms `tckd` and `nckd`, and the observed number of RoIs and the teacher's mean
            probability of the target class, 0-1.
        """
        p, (z_s, z_t, y) = self.params, logits_of(view)
        target, others = decoupled_kl(z_s, z_t, y, p.T)
        count = max(len(y), 1)
        terms = {}
        if p.alpha > 0:
            terms["tckd"] = Term(target.sum() / count, p.alpha)
        if p.beta > 0 and self.other_classes:
            terms["nckd"] = Term(others.sum() / count, p.beta)
        sure = z_t.softmax(1).gather(1, y[:, None]).sum() / count
        return terms, {"rois": z_s.new_tensor(float(len(y))), "teacher_target": sure}

    @torch.no_grad()
    def visualize(self, view: View) -> list[Visualization]:
        """Show the RoIs: those with an object, and the background."""
        rois = view.student.rois
        assert rois is not None
        images = range(len(view.batch.boxes))
        drawn = []
        for name, kept in (("RoIs of objects", rois.positive), ("RoIs of background", ~rois.positive)):
            boxes = [rois.rois[kept & (rois.rois[:, 0] == image), 1:] for image in images]
            drawn.append(Visualization(name, boxes=boxes))
        return drawn


def logits_of(view: View) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (R, C + 1) of student and teacher on the student's RoIs, and the labels (R,) of the sampling."""
    student, teacher = view.student.rois, view.teacher.rois
    if student is None or teacher is None:
        raise RuntimeError("no second stage was recorded; DKD's `needs` name `rois`")
    return student.logits, teacher.logits.detach(), student.labels


def decoupled_kl(z_s: Tensor, z_t: Tensor, y: Tensor, T: float) -> tuple[Tensor, Tensor]:
    """Compute T^2 KL(b_t || b_s) and T^2 KL(q_t || q_s) of every row.

    Args:
        z_s, z_t: logits (R, K) of student and teacher; K >= 2.
        y: (R,) long, the target class of each row.
        T: temperature.

    Returns:
        (R,) each: target class, and classes beside it.
    """
    (target_s, others_s, rest_s), (target_t, others_t, rest_t) = (split_logits(z / T, y) for z in (z_s, z_t))
    target = target_t.exp() * (target_t - target_s) + rest_t.exp() * (rest_t - rest_s)
    others = (others_t.exp() * (others_t - others_s)).sum(1)
    return T**2 * target, T**2 * others


def split_logits(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split logits (R, K) at class y (R,): log p_y (R,), log q (R, K - 1), log(1 - p_y) (R,)."""
    rows, classes = z.shape
    beside = torch.arange(classes, device=z.device) != y[:, None]
    others, whole = z[beside].reshape(rows, classes - 1), z.logsumexp(1)
    rest = others.logsumexp(1)
    return z.gather(1, y[:, None])[:, 0] - whole, others - rest[:, None], rest - whole
