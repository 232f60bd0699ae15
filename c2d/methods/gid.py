"""GID: General Instance Distillation for Object Detection. Dai, Jiang, Wu, Bao, Wang, Liu, Zhou, CVPR 2021.

https://arxiv.org/abs/2103.02340. Where the two detectors disagree most is where the student learns: K boxes of each
image, independent of the ground truth. P are sigmoid scores, r the predictions of all levels, one to one in both heads.

    select     GI_r = max_c |P_t - P_s|, box of the side with the larger maximum; best 3000, NMS, K best of an image
    feature    1/(100 K_tot) sum_i || t_i - s_i ||^2                   t, s: RoIAlign 10x10 of T and phi(S)
    relation   1/(n (n-1)) sum_ij smooth_l1(D_s - D_t)                 D: pairwise distances over their mean
    cls        1/N_m sum_r M_r sum_c BCE(z_s, P_t)                     M: anchors matched to general instances
    reg        1/N_m sum_r M_r sum_4 |d_s - d_t|

The paper itself was not available: formulas are from a review note and from the authors' later reproduction (RetinaNet
only, unfinished by its own account), which also has the only known weights.

Departures from the paper or the released code:
  * `score`: the paper's form; the reproduction takes the difference of the two maxima (`objectness`).
  * `norm`: the reproduction's squared norm, since the known weight goes with it; the note has the norm itself.
  * phi, one 3x3 convolution for all levels, is trained and used before pooling; the reproduction never registers it.
  * A pooling level is chosen by stride: 224 px belong to stride 16, on P2..P6 as on P3..P7; fewer px, in proportion,
    for a student whose anchors or RoI levels are smaller than mmdet's stock (ours).
  * relation over all pairs of the GPU's batch, as released; whether the paper pairs across images is unverified. Its
    distances come from one fp64 matrix product; below 1e-7 of the largest norm they count as 0.
  * M: IoU >= 0.5, and each instance's best anchor where it overlaps at all; so for ATSS and GFL too, whose own matcher
    needs no IoU. FCOS: points inside an instance.
  * Two-stage students: RPN objectness, and the RPN's boxes before NMS; the second stage is not taught.
  * reg: raw deltas. FCOS, RTMDet, VFNet and GFL: distances in strides, GFL's as the mean of each edge's distribution;
    YOLOX: its offsets; TOOD: corners in strides.
  * cls at equal logits is the teacher's entropy, not 0.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torchvision.ops import nms, roi_align

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.outputs import DenseOutputs, Needs
from c2d.detectors.recording.anchors import Priors
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import FeatureAdapter, check_same_heads, conv_adapter, pair_levels
from c2d.ops.masks import max_per_image

RETINANET = unverified("from the reproduction's RetinaNet; the paper's and other detectors' are not known")
SIDE = 10  # cells of a pooled side


class GIDParams(Params):
    """Weights are those of the reproduction's RetinaNet; it has no warm-up."""

    K: int = Field(default=10, gt=0, description="general instances of an image; 5 to 100 do alike in the paper")
    lambda_1: float = Field(default=5e-4, ge=0, description="weight of feature", json_schema_extra=RETINANET)
    lambda_2: float = Field(default=40.0, ge=0, description="weight of relation", json_schema_extra=RETINANET)
    alpha: float = Field(default=0.1, ge=0, description="weight of cls (lambda_3 in it)", json_schema_extra=RETINANET)
    beta: float = Field(default=1.0, ge=0, description="weight of reg (lambda_3 in it)", json_schema_extra=RETINANET)
    score: Literal["classwise", "objectness"] = Field(
        default="classwise", description="GI: the largest difference of a class, or the difference of the largest"
    )
    norm: Literal["squared", "plain"] = Field(
        default="squared",
        description="feature: squared over 100 as released, or the norm (has no known weight)",
        json_schema_extra=unverified("released code and second-hand formula differ; the paper's is not known"),
    )
    candidates: int = Field(default=3000, gt=0, description="largest GI of an image that enter NMS")
    min_side: float = Field(default=10.0, ge=0, description="px a side of an instance has to exceed")
    overlap: float = Field(default=0.3, ge=0, le=1, description="IoU of the NMS, over all levels and classes at once")
    matched: float = Field(default=0.5, gt=0, le=1, description="IoU from which an anchor belongs to an instance")
    smooth: float = Field(default=0.0, ge=0, description="reg: beta of smooth L1; 0: L1; 0.1 in a released variant")
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels to pool from; null: all that both have"
    )


class GID(Distiller):
    """Sigmoid heads and RPNs; the teacher's head needs the same layout. Terms `feature`, `relation`, `cls`, `reg`."""

    NAME = "gid"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = GIDParams
    WEIGHTS: ClassVar = {"feature": "lambda_1", "relation": "lambda_2", "cls": "alpha", "reg": "beta"}
    GATED = ("relation",)
    DETECTORS = tuple(name for name in heads.WITH_DENSE if name != "ssd")  # its scores are softmax
    COST = "teacher to its dense head (RPN), every box decoded twice, 10x10 RoIAlign of K boxes an image twice"
    SOURCE = "a review note; the authors' reproduction (daixinghome/Distill_GID_detectron2 9118c54), RetinaNet only"

    def __init__(self, params: GIDParams, context: Context) -> None:
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        layout = check_same_heads(self.NAME, student, teacher, "choose a teacher of the student's family and settings")
        self.ours, self.theirs = (Priors(heads.dense_head(d)) for d in (context.student, context.detector.network))
        if layout.kind != "sigmoid":
            raise InputError(f"gid compares sigmoid scores, and the heads have {layout}; use sigmoid heads")
        if not self.ours.same_encoding(self.theirs, layout):
            raise InputError(
                f"gid compares prediction by prediction, and student and teacher decode the same numbers to different "
                f"boxes; both heads: {layout}; choose a teacher with the student's anchors and box coder"
            )
        # FCOS without norm_on_bbox, RTMDet and VFNet write pixels: these become strides.
        self.in_px = heads.regresses_px(heads.dense_head(context.student))
        self.pooling = params.lambda_1 > 0 or params.lambda_2 > 0
        self.needs = Needs(neck=self.pooling, dense=True)
        if self.pooling:
            pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels)
            self.phi = FeatureAdapter(pairs, conv_adapter(3), "by one 3x3 convolution for all levels", shared=True)
            self.canonical_px = 224.0 * student.scale
            self.notes += [*self.phi.notes, f"instances of {self.canonical_px:g} px are pooled at stride 16"]

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Select the general instances, and compute the terms on them.

        Args:
            view: one training step: neck maps (B, M, h, w), class logits (B, A * C, h, w) and box numbers of both,
                per level.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, and the observed numbers of general instances
            and of matched anchors N_m.
        """
        p, terms = self.params, {}
        rois = torch.cat(self.select(view)[1])
        observed = {"instances": rois.new_tensor(float(len(rois)))}
        if self.pooling:
            student, teacher = (pool_instances(maps, self.phi.strides, rois, self.canonical_px)
                                for maps in zip(*self.phi(view.student, view.teacher), strict=True))  # fmt: skip
            if p.lambda_1 > 0:
                terms["feature"] = Term(feature_loss(student, teacher, p.norm), p.lambda_1)
            if p.lambda_2 > 0:
                terms["relation"] = Term(relation_loss(student, teacher), p.lambda_2)
        if p.alpha > 0 or p.beta > 0:
            ours, theirs = view.dense()
            taken = self.match(ours, rois)
            observed["matched"] = taken.sum().float()
            (z_s, d_s), (z_t, d_t) = (self.matched_predictions(dense, taken) for dense in (ours, theirs))
            if p.alpha > 0:
                terms["cls"] = Term(response_cls(z_s, z_t), p.alpha)
            if p.beta > 0:
                terms["reg"] = Term(response_reg(d_s, d_t, p.smooth), p.beta)
        return terms, observed

    @torch.no_grad()
    def select(self, view: View) -> tuple[list[Tensor], list[Tensor]]:
        """Select the general instances.

        Returns:
            Per level GI (B, h, w, A), and per image (k, 5): its index, then xyxy in px of the batch tensor.
        """
        p, (ours, theirs) = self.params, view.dense()
        by_level = [gi_scores(s, t, ours.classes, p.score) for s, t in zip(ours.scores, theirs.scores, strict=True)]
        gi, from_teacher = (torch.cat([m.flatten(1) for m in maps], 1) for maps in zip(*by_level, strict=True))
        # Each head decodes its own outputs; prediction r is the same prior in both.
        boxes = torch.where(from_teacher[..., None], self.theirs.decode(theirs), self.ours.decode(ours))
        chosen = [general_instances(g, b, size, p.candidates, p.min_side, p.overlap, p.K)
                  for g, b, size in zip(gi, boxes, view.batch.sizes, strict=True)]  # fmt: skip
        return [m for m, _ in by_level], [F.pad(b, (1, 0), value=float(image)) for image, b in enumerate(chosen)]

    @torch.no_grad()
    def match(self, dense: DenseOutputs, rois: Tensor) -> Tensor:
        """Compute M (B, N) bool: priors of `dense` that match an instance of `rois` (G, 5) in their image."""
        sizes = [(s.shape[-2], s.shape[-1]) for s in dense.scores]
        taken = self.ours.match(rois[:, 1:], sizes, self.params.matched)
        return max_per_image(taken[:, None].float(), rois[:, 0].long(), len(dense.scores[0]))[:, 0] > 0

    def matched_predictions(self, dense: DenseOutputs, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N_m, C) and box numbers (N_m, 4) where M is set, level by level."""
        logits, raw, stride = dense.select(taken)
        return logits, edge_distances(raw / stride[:, None] if self.in_px else raw)

    @torch.no_grad()
    def visualize(self, view: View) -> list[Visualization]:
        """Show GI of every level, and the general instances."""
        gi, rois = self.select(view)
        heat = [
            Visualization(f"disagreement, stride {s}", m.amax(3)) for s, m in zip(self.ours.strides, gi, strict=True)
        ]
        return [Visualization("general instances", boxes=[r[:, 1:] for r in rois]), *heat]


# ---------------------------------------------------------------------------------------------------------------------
# General instances


def gi_scores(student: Tensor, teacher: Tensor, classes: int, form: str) -> tuple[Tensor, Tensor]:
    """Compute GI of every prediction of a level.

    Args:
        student, teacher: logits (B, A * C, h, w).
        classes: C.
        form: `classwise`, the largest difference of a class (paper), or `objectness`, the difference of the largest.

    Returns:
        (B, h, w, A): GI, and bool: whether the teacher's box is taken.
    """
    p_s, p_t = (z.unflatten(1, (-1, classes)).sigmoid() for z in (student, teacher))
    top_s, top_t = p_s.amax(2), p_t.amax(2)
    gi = (p_t - p_s).abs().amax(2) if form == "classwise" else (top_t - top_s).abs()
    return gi.permute(0, 2, 3, 1), (top_t > top_s).permute(0, 2, 3, 1)


def general_instances(gi: Tensor, boxes: Tensor, size: tuple[int, int], candidates: int, min_side: float,
                      overlap: float, keep: int) -> Tensor:  # fmt: skip
    """Select the general instances of one image (GISM).

    Args:
        gi: (N,).
        boxes: (N, 4) xyxy, px of the batch tensor.
        size: (height, width) of the image in px.
        candidates: largest GI that enter NMS.
        min_side: px that a side has to exceed, after clipping.
        overlap: IoU of the NMS.
        keep: maximum number of instances.

    Returns:
        (k, 4) boxes clipped to the image, best first.
    """
    gi, order = gi.topk(min(candidates, len(gi)))
    height, width = size
    x1, y1, x2, y2 = boxes[order].unbind(1)
    boxes = torch.stack([x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], 1)
    large = (boxes[:, 2:] - boxes[:, :2] > min_side).all(1)
    boxes, gi = boxes[large], gi[large]
    return boxes[nms(boxes, gi, overlap)[:keep]]  # over all levels and classes at once, as released


def pooling_level(boxes: Tensor, strides: list[int], canonical_px: float = 224.0) -> Tensor:
    """Assign boxes to levels: stride 2^floor(4 + log2(sqrt(area) / canonical_px)), or the next finer one that exists.

    Args:
        boxes: (G, 4) xyxy, px.
        strides: px per cell of each level, ascending.
        canonical_px: side of a box that belongs to stride 16.

    Returns:
        (G,) long, index in `strides`.
    """
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    power = (4 + torch.log2(side / canonical_px + 1e-8)).floor()
    ends = torch.tensor(strides, device=power.device).log2() - 0.5  # half-way, so that no rounding moves a level
    return (torch.bucketize(power, ends) - 1).clamp(min=0)


def pool_instances(maps: tuple[Tensor, ...], strides: list[int], rois: Tensor, canonical_px: float = 224.0) -> Tensor:
    """Pool every instance from the map of its level.

    Args:
        maps: per level (B, M, h, w).
        strides: px per cell of each level.
        rois: (G, 5): index of the image, then xyxy in px of the batch tensor.
        canonical_px: see `pooling_level`.

    Returns:
        (G, M, 10, 10), ordered by level, then as given: the same order for student and teacher.
    """
    level = pooling_level(rois[:, 1:], strides, canonical_px)
    return torch.cat([
        roi_align(m, rois[level == i].to(m.dtype), SIDE, 1 / stride, sampling_ratio=2, aligned=True)
        for i, (m, stride) in enumerate(zip(maps, strides, strict=True))
    ])  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Losses


def feature_loss(student: Tensor, teacher: Tensor, norm: str) -> Tensor:
    """Mean over instances of the squared norm of the difference, divided by the s s cells, or of the norm itself.

    Args:
        student, teacher: (K_tot, M, s, s).
        norm: `squared` or `plain`.

    Returns:
        A scalar.
    """
    difference = (student - teacher).flatten(1)
    each = difference.square().sum(1) / student.shape[2:].numel() if norm == "squared" else difference.norm(dim=1)
    return each.sum() / max(len(student), 1)


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 of the normalised distances of (n, ...) features over ordered pairs; 0 for n < 3."""
    n = len(student)
    if n < 3:  # a single distance over its own mean is 1 for both
        return 0 * student.sum()  # with a graph, which DDP waits for
    total = F.smooth_l1_loss(normalised_distances(student), normalised_distances(teacher), reduction="sum")
    return (total / (n * (n - 1))).to(student.dtype)


def normalised_distances(features: Tensor) -> Tensor:
    """(n, n) fp64 Euclidean distances of the rows over the mean of the positive ones; 0 on the diagonal."""
    rows = features.flatten(1).double()
    distances = torch.cdist(rows, rows, compute_mode="use_mm_for_euclid_dist")  # the other mode's gradient is n^2 rows
    # The product gives d^2 up to 2e-16 |x|^2, so a distance near 1e-8 |x| is rounding and its gradient meaningless.
    distinct = distances > 1e-7 * rows.detach().norm(dim=1).max()
    distinct = distinct & ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    distances = torch.where(distinct, distances, 0)
    count = distinct.sum()
    return distances / torch.where(count > 0, distances.sum() / count.clamp(min=1), 1)


def edge_distances(raw: Tensor) -> Tensor:
    """(K, 4) numbers as they are; logits (K, 4 * bins) of distributions: their means, in strides."""
    if raw.shape[1] == 4:
        return raw
    shares = raw.unflatten(1, (4, -1)).softmax(2)
    return shares @ torch.arange(shares.shape[2], device=raw.device, dtype=raw.dtype)


def response_cls(student: Tensor, teacher: Tensor) -> Tensor:
    """Binary cross-entropy of logits (N_m, C) with the teacher's scores: sum over classes, mean over rows."""
    total = F.binary_cross_entropy_with_logits(student, teacher.sigmoid(), reduction="sum")
    return total / max(len(student), 1)


def response_reg(student: Tensor, teacher: Tensor, smooth: float) -> Tensor:
    """(Smooth) L1 of (N_m, 4): sum over the four, mean over rows."""
    return F.smooth_l1_loss(student, teacher, beta=smooth, reduction="sum") / max(len(student), 1)
