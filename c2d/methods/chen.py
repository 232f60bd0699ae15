"""Chen et al.: Learning Efficient Object Detection Models with Knowledge Distillation. NIPS 2017.

Chen, Choi, Yu, Han, Chandraker; https://papers.nips.cc/paper/6676. The first distillation of a whole two-stage
detector: soft classes, boxes bounded by the teacher's, and a hint, for RPN and RoI head alike:

    L = L_det + (1 - mu) (rpn_cls + roi_cls) + nu (rpn_reg + roi_reg) + gamma hint

    *_cls   mean over the mini-batch of - sum_c w_c p_t,c log p_s,c      p = sm(z / T), w = 1, of the background 1.5
    *_reg   sum over positives of L_b / mini-batch;  L_b = |R_s - y|^2 where |R_s - y|^2 + m > |R_t - y|^2, else 0
    hint    1/2 mean (phi(S) - T)^2, mean over neck levels

R are the raw deltas, y the deltas of the ground truth. The gate of L_b is not differentiated.

Departures from the paper; all its numbers are unverified, they are known second-hand:
  * The student's own losses keep their weight 1. In the paper L_cls = mu L_hard + (1 - mu) L_soft, L_reg = L_smooth +
    nu L_b with weight lambda = 1. So `mu_soft` is 1 - mu, and L_hard counts 1 instead of mu.
  * m is unknown; 0 here: a box is taught unless it is better than the teacher's.
  * The hint is on every neck level through a 1x1 convolution; the paper's network has one layer for it. Its scale is
    that of FitNets here.
  * RPN: one logit per anchor counts as the classes [1 - p, p]. The mini-batch is drawn again, by Faster R-CNN's rule
    (positive: IoU >= 0.7 or the best of a ground truth; negative: below 0.3; half of it positive at most), among
    anchors whose centre lies in the image; the student's own draw is not read.
  * RoI head: the student's sampled RoIs, on which the teacher predicts too; of a cascade the last stage. Deltas of the
    ground truth's class.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.outputs import Needs
from c2d.detectors.recording import roi_stage
from c2d.detectors.recording.anchors import Priors
from c2d.methods.base import Context, Distiller, Params, Term, View, unverified
from c2d.ops.adapters import FeatureAdapter, check_same_heads, conv_adapter, pair_levels
from c2d.ops.boxes import broadcast_iou

Scalars = dict[str, Tensor]
HIGH, LOW = 0.7, 0.3
"""IoU from which an anchor is positive, and below which it is negative."""
SECOND_HAND = unverified("known second-hand only")


class ChenParams(Params):
    """The paper's symbols; every value is unverified."""

    mu_soft: float = Field(
        default=0.5, ge=0, description="weight of soft classes: 1 - mu, where mu is 0.5", json_schema_extra=SECOND_HAND
    )
    nu: float = Field(default=0.5, ge=0, description="weight of bounded boxes", json_schema_extra=SECOND_HAND)
    gamma: float = Field(default=0.5, ge=0, description="weight of the hint", json_schema_extra=SECOND_HAND)
    w_bg: float = Field(default=1.5, ge=0, description="w of the background class", json_schema_extra=SECOND_HAND)
    T: float = Field(default=1.0, gt=0, description="temperature; no factor T^2", json_schema_extra=SECOND_HAND)
    m: float = Field(
        default=0.0, ge=0, description="margin by which a box has to be better than the teacher's to get no L_b",
        json_schema_extra=unverified("no value is known; 0 is ours"),
    )  # fmt: skip
    rpn_batch: int = Field(default=256, gt=0, description="anchors of an image that are compared; Faster R-CNN's")
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )


class Chen(Distiller):
    """Two-stage students. Terms `hint`, `rpn_cls`, `rpn_reg`, `roi_cls`, `roi_reg`."""

    NAME = "chen"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = ChenParams
    WEIGHTS: ClassVar = {
        "hint": "gamma", "rpn_cls": "mu_soft", "rpn_reg": "nu", "roi_cls": "mu_soft", "roi_reg": "nu"
    }  # fmt: skip
    GATED = ("rpn_reg", "roi_reg")
    DETECTORS = ("faster-rcnn", "cascade-rcnn")
    COST = "teacher to its RPN, its second stage on the student's RoIs; IoU of every anchor with every ground truth"
    SOURCE = "general knowledge of the paper; every number unverified"

    def __init__(self, params: ChenParams, context: Context) -> None:
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        heads_too = params.mu_soft > 0 or params.nu > 0
        self.needs = Needs(neck=params.gamma > 0, dense=heads_too, rois=heads_too)
        if params.gamma > 0:
            pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels)
            self.phi = FeatureAdapter(pairs, conv_adapter(1), "by a 1x1 convolution")
            self.notes += self.phi.notes
        if heads_too:
            layout = check_same_heads(self.NAME, student, teacher, "choose such a teacher, or set mu_soft and nu to 0")
            if layout.kind != "sigmoid" or layout.classes != 1:
                raise InputError(f"chen reads RPNs with one logit per anchor, these have more: {layout}")
            roi_stage.check_roi_stages(self.NAME, context.student, context.detector, context.num_classes)
            self.rpn, self.coder = check_coders(context.student, context.detector.network, boxes=params.nu > 0)
            self.priors = Priors(heads.dense_head(context.student))

    def forward(self, view: View) -> tuple[dict[str, Term], Scalars]:
        """Compute the hint, and soft classes and bounded boxes of RPN and RoI head.

        Args:
            view: one training step: neck maps (B, M, h, w); RPN logits (B, A, h, w) and deltas per level; logits
                (R, C + 1) and deltas of both second stages on the student's RoIs (R, 5): image, xyxy px of the
                batch tensor.

        Returns:
            Scalars in fp32: the trained terms `hint`, `rpn_cls`, `rpn_reg`, `roi_cls`, `roi_reg` that have a
            weight, and the observed numbers of compared anchors, of positives, and of positives with an open gate
            of L_b.
        """
        p = self.params
        values: Scalars = {}
        seen: Scalars = {}
        if p.gamma > 0:
            maps = self.phi(view.student, view.teacher)
            values["hint"] = torch.stack([0.5 * F.mse_loss(s, t) for s, t in maps]).mean()
        if self.needs.dense:
            for of in (self._rpn, self._roi):
                computed, counted = of(view)
                values |= computed
                seen |= counted
        return {name: Term(value, getattr(p, self.WEIGHTS[name])) for name, value in values.items()}, seen

    def _rpn(self, view: View) -> tuple[Scalars, Scalars]:
        p, values = self.params, {}
        s: Any = view.student.dense
        t: Any = view.teacher.dense
        sizes = [(m.shape[-2], m.shape[-1]) for m in s.scores]
        anchors = torch.cat(self.priors.anchors(sizes, s.scores[0].device))
        drawn = []
        for number, (boxes, size) in enumerate(zip(view.batch.boxes, view.batch.sizes, strict=True)):
            gt, positive, negative = assign_anchors(anchors, boxes, size)
            place, kept, positive = sample_anchors(positive, negative, p.rpn_batch, view.generator)
            # The empty box of `assign_anchors` again: an image without ground truth has a row to index.
            truth = torch.cat([boxes, boxes.new_zeros(1, 4)])[gt[place]]
            drawn.append((torch.full_like(place, number), place, kept, positive, truth))
        image, place, kept, positive, truth = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        count = kept.sum().clamp(min=1)
        if p.mu_soft > 0:
            soft = soft_objectness(
                s.gather_scores(image, place)[:, 0], t.gather_scores(image, place)[:, 0], p.w_bg, p.T
            )
            values["rpn_cls"] = (soft * kept).sum() / count
        seen = {"rpn_batch": kept.sum().float(), "rpn_positives": positive.sum().float()}
        if p.nu > 0:
            drawn_anchors = anchors[place]
            # A negative encodes its own anchor: the log of an empty box is infinite, and inf * 0 would be NaN below.
            y = self.rpn.encode(drawn_anchors, torch.where(positive[:, None], truth, drawn_anchors))
            bound, gate = bounded_regression(s.gather_deltas(image, place), t.gather_deltas(image, place), y, p.m)
            values["rpn_reg"] = (bound * positive).sum() / count
            seen["rpn_worse"] = (gate & positive).sum().float()
        return values, seen

    def _roi(self, view: View) -> tuple[Scalars, Scalars]:
        p, values = self.params, {}
        s: Any = view.student.rois
        t: Any = view.teacher.rois
        kept, count = s.positive, max(len(s.rois), 1)
        if p.mu_soft > 0:
            values["roi_cls"] = soft_classes(s.logits, t.logits, p.w_bg, p.T).sum() / count
        seen = {"roi_positives": kept.sum().float()}
        if p.nu > 0:
            rois, labels = s.rois[kept], s.labels
            # `gt` counts inside the image; the offset of the image makes it a row of all boxes.
            truth = view.batch.all_boxes()[0][view.batch.offsets()[rois[:, 0].long()] + s.gt[kept]]
            y = self.coder.encode(rois[:, 1:], truth)
            bound, gate = bounded_regression(s.class_deltas(labels)[kept], t.class_deltas(labels)[kept], y, p.m)
            values["roi_reg"] = bound.sum() / count
            seen["roi_worse"] = gate.sum().float()
        return values, seen


def check_coders(student: Any, teacher: Any, boxes: bool) -> tuple[Any, Any]:
    """Box coders of the student's RPN and of its (last) box head.

    Raises:
        InputError: the anchors differ; or, with `boxes`, the scales in which boxes are written.
    """
    rpns = (heads.dense_head(student), heads.dense_head(teacher))
    # One cell of each level is enough: the other anchors are the same, moved by strides, which are equal.
    cells = [torch.cat(Priors(rpn).anchors([(1, 1)] * len(heads.strides(rpn)), torch.device("cpu"))) for rpn in rpns]
    if not torch.equal(cells[0], cells[1]):
        raise InputError(
            "chen compares RPNs anchor by anchor, and the anchors differ; first ones, xyxy px: student "
            f"{cells[0][0].tolist()}, teacher {cells[1][0].tolist()}; choose a teacher with the student's anchors, or "
            "set mu_soft and nu to 0"
        )
    coders = []
    for rpn, detector in zip(rpns, (student, teacher), strict=True):
        head, cascaded = heads.roi_head(detector)
        coders.append((rpn.bbox_coder, (head.bbox_head[-1] if cascaded else head.bbox_head).bbox_coder))
    for where, *pair in zip(("RPN", "RoI head"), *coders, strict=True):
        ours, theirs = (f"{type(c).__name__} {c.means} {c.stds}" for c in pair) if boxes else ("", "")
        if ours != theirs:
            raise InputError(
                f"chen compares box deltas, and those of the {where} have other means and deviations; student: {ours}; "
                f"teacher: {theirs}; choose a teacher of the student's kind, or set nu to 0"
            )
    return coders[0]


def assign_anchors(anchors: Tensor, boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Assign the anchors of one image to its ground truth.

    An anchor that is the best of a ground truth belongs to it, even if it overlaps another one more.

    Args:
        anchors: (N, 4) xyxy, px of the batch tensor.
        boxes: (G, 4) ground truth, likewise.
        size: (height, width) of the image in px.

    Returns:
        (N,) each: index of the ground truth, whether the anchor is positive, whether it is negative.
    """
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    inside = (centre >= 0).all(1) & (centre < centre.new_tensor([size[1], size[0]])).all(1)
    shared = broadcast_iou(torch.cat([boxes, boxes.new_zeros(1, 4)])[:, None], anchors) * inside  # never without a row
    best = (shared == shared.amax(1, keepdim=True)) & (shared > 0)
    # An IoU is at most 1, so + 2 puts a best anchor above every threshold and every other ground truth.
    most = (shared + 2 * best).max(0)
    return most.indices, most.values >= HIGH, (most.values < LOW) & inside


def sample_anchors(
    positive: Tensor, negative: Tensor, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw at most `size` anchors at random: at most half of them positive, the rest negative.

    Args:
        positive, negative: (N,) bool.
        size: of the mini-batch.
        generator: on the CPU.

    Returns:
        (S,) each: index of the anchor, whether the row counts, whether it counts and is positive. S follows from N and
        `size` alone.
    """
    # Keys are 0.5 or more, so after the product 0 means: not a candidate.
    key = (torch.rand(len(positive), generator=generator) + 0.5).to(positive.device)
    above, high = (key * positive).topk(min(size // 2, len(key)))
    below, low = (key * negative).topk(min(size, len(key)))
    taken = above > 0
    room = torch.arange(len(low), device=key.device) < size - taken.sum()
    return torch.cat([high, low]), torch.cat([taken, (below > 0) & room]), torch.cat([taken, torch.zeros_like(room)])


def soft_classes(z_s: Tensor, z_t: Tensor, w_bg: float, T: float) -> Tensor:
    """- sum_c w_c p_t,c log p_s,c of logits (R, C + 1), background last: (R,)."""
    weighted = (z_t.detach() / T).softmax(1) * (z_s / T).log_softmax(1)
    # The sum already holds the background once.
    return -weighted.sum(1) - (w_bg - 1) * weighted[:, -1]


def soft_objectness(z_s: Tensor, z_t: Tensor, w_bg: float, T: float) -> Tensor:
    """The same for one logit per anchor (S,), as the classes [1 - p, p], background first: (S,)."""
    z_s, p_t = z_s / T, (z_t.detach() / T).sigmoid()
    return -w_bg * (1 - p_t) * F.logsigmoid(-z_s) - p_t * F.logsigmoid(z_s)


def bounded_regression(student: Tensor, teacher: Tensor, y: Tensor, m: float) -> tuple[Tensor, Tensor]:
    """L_b (n,) of deltas (n, 4), and where its gate is open (n,)."""
    ours, theirs = (student - y).square().sum(1), (teacher.detach() - y).square().sum(1)
    gate = ours.detach() + m > theirs
    return ours * gate, gate
