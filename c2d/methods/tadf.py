"""TADF: Distilling Object Detectors with Task Adaptive Regularization. Sun, Tang, Zhang, Xiong, Tian, arXiv 2020.

https://arxiv.org/abs/2006.13108. Knowledge goes to three places of a two-stage detector: features, classes, boxes; to
the last two only where the teacher does better, and fading as training goes on. Only the paper's abstract could be
read, and a few facts second-hand: what follows is our reading, and every value in it is unverified. Both second stages
get the same RoIs; g_k is the ground truth of positive RoI k, K their number, p softmax scores, d box deltas:

    feat   sum_l  sum M_l (phi_l(S_l) - T_l)^2 / (2 sum M_l)
           M_l = exp(-((x - cx) / (w/2))^2 / 2) exp(-((y - cy) / (h/2))^2 / 2) inside a box of level l, else 0
    cls    (1/K) sum_k [p^t_k > p^s_k at the class of g_k]  sum_c  -p^t log p^s - (1 - p^t) log(1 - p^s)
    box    (1/K) sum_k [IoU(B^t_k, g_k) > IoU(RoI_k, g_k)]  mean over 4 of |d^s_k - d^t_k|

    loss   r(t) (lambda_feat feat + lambda_cls cls + lambda_box box)       r falls linearly, `decay` below

From the abstract: shared proposals, three places, only where the teacher is better, a decaying weight. Second-hand: the
student's RoIs, the gate of boxes, a Gaussian mask, r(t) = 1 - (t - 1) / t_max over epochs t. All else is ours.

Departures from the paper or the released code (no released code is known):
  * The Gaussian's shape is that of another paper's released code, on real-valued boxes (that code cuts centres to whole
    cells); the paper's variance is unverified. Boxes are at least one cell wide and high; the larger value where two
    overlap. A box belongs to one level by its size: 56 px at stride 4 as in that code, in proportion for others.
  * Whether the mask's sum counts channels is unverified (`normaliser`); so is summing levels after dividing each.
  * Soft binary cross-entropy for the classes, and L1 for the deltas, are from memory, unverified; the gate of classes
    is ours, from the abstract's principle. Both means run over all positives, whether their gate is open or not.
  * phi is DeFeat's 3x3 convolution; the paper's is unverified.
  * r falls per iteration, from 1 in the first; the paper's per epoch.
  * Levels pair by stride; those that only one detector has are left out. Of a cascade, the last stage is taught;
    with `proposals: teacher` it gets raw proposals, which it does not get in training.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.batch import Batch
from c2d.detectors.outputs import Needs, RoIOutputs
from c2d.detectors.recording import roi_stage
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import FeatureAdapter, conv_adapter, pair_levels
from c2d.ops.boxes import broadcast_iou
from c2d.ops.masks import assign_levels, cell_bounds, max_per_image, square_distance

UNKNOWN = unverified("the paper's text was not available; ours")


class TADFParams(Params):
    """No value of the paper is known, except that the weight decays."""

    lambda_feat: float = Field(
        default=0.01, ge=0, description="weight of features; FGFI's, whose divisor is alike", json_schema_extra=UNKNOWN
    )
    lambda_cls: float = Field(default=1.0, ge=0, description="weight of classes", json_schema_extra=UNKNOWN)
    lambda_box: float = Field(default=1.0, ge=0, description="weight of boxes", json_schema_extra=UNKNOWN)
    normaliser: Literal["cells", "elements"] = Field(
        default="cells", description="features: sum of the mask over cells, or over channels too",
        json_schema_extra=UNKNOWN,
    )  # fmt: skip
    proposals: Literal["student", "teacher"] = Field(
        default="student", description="whose proposals both second stages get",
        json_schema_extra=unverified("second-hand; the abstract states that they are shared"),
    )  # fmt: skip
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )
    base_px: float | None = Field(
        default=None, gt=0, description="level l takes boxes of sides from base_px * 2^l px; null: 14 times the finest "
        "stride, multiplied by the size of the student's anchors or RoI levels relative to mmdet's stock",
        json_schema_extra=UNKNOWN,
    )  # fmt: skip
    decay: Literal["none", "linear", "cosine"] = Field(
        default="linear", description="fall to 0 at the end of the run; linear in the paper",
        json_schema_extra=unverified("that the weight decays is the paper's; that it does so linearly is second-hand"),
    )  # fmt: skip

    @property
    def heads(self) -> bool:
        """Whether second stages are compared."""
        return self.lambda_cls > 0 or self.lambda_box > 0


class TADF(Distiller):
    """Two-stage students and teachers with the same classes and box coder. Terms `feat`, `cls`, `box`."""

    NAME = "tadf"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = TADFParams
    WEIGHTS: ClassVar = {"feat": "lambda_feat", "cls": "lambda_cls", "box": "lambda_box"}
    GATED = ("cls", "box")
    DETECTORS = ("faster-rcnn", "cascade-rcnn")
    COST = "teacher to its neck, its second stage on the student's RoIs"
    SOURCE = "abstract of the paper and second-hand facts; formulas and values ours, unverified"

    def __init__(self, params: TADFParams, context: Context) -> None:
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        own = params.proposals == "student"
        self.needs = Needs(neck=params.lambda_feat > 0, rois=params.heads and own, proposals=params.heads and not own)
        if params.lambda_feat > 0:
            pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels)
            self.phi = FeatureAdapter(pairs, conv_adapter(3, init="small"), "by a 3x3 convolution")
            self.base_px = params.base_px or student.base_px(pairs[0].stride)
            self.notes += self.phi.notes
            self.notes.append(f"boxes of sides below {2 * self.base_px:g} px belong to stride {pairs[0].stride}")
        if params.heads:
            roi_stage.check_roi_stages(self.NAME, context.student, context.detector, context.num_classes)
        if params.lambda_box > 0:
            coders = [_coder(_box_head(one).bbox_coder) for one in (context.student, context.detector.network)]
            if coders[0] != coders[1]:
                raise InputError(
                    f"tadf compares box deltas; the student's box coder is {coders[0]}, the teacher's {coders[1]}; "
                    "choose a teacher of the student's kind, or set method.tadf.lambda_box to 0"
                )

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute `feat`, `cls` and `box`; the factor r(t) is applied by the wrapper (`decay`).

        Args:
            view: one training step: neck maps (B, M, h, w) of both; logits (R, C + 1) and deltas of both second
                stages on the same RoIs (R, 5): image, xyxy px of the batch tensor.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, and the observed sum of M, number of positive
            RoIs, and numbers of positives whose gate is open.
        """
        p = self.params
        terms: dict[str, Term] = {}
        seen: dict[str, Tensor] = {}
        if p.lambda_feat > 0:
            masks = self.masks(view)
            maps = self.phi(view.student, view.teacher)
            terms["feat"] = Term(feature_loss(maps, masks, p.normaliser == "elements"), p.lambda_feat)
            seen["mask"] = torch.stack([mask.sum() for mask in masks]).sum()
        if p.heads:
            s, t = self.roi_outputs(view)
            kept = s.positive
            labels, logits = s.labels[kept], s.logits[kept]
            seen["positives"] = kept.float().sum()
            if p.lambda_cls > 0:
                better = teacher_more_confident(logits, t.logits[kept], labels)
                terms["cls"] = Term(gated_mean(soft_bce(logits, t.logits[kept]), better), p.lambda_cls)
                seen["cls_kept"] = better.float().sum()
            if p.lambda_box > 0:
                better = self.teacher_localizes_better(view)
                difference = (s.class_deltas(s.labels)[kept] - t.class_deltas(t.labels)[kept].detach()).abs().mean(1)
                terms["box"] = Term(gated_mean(difference, better), p.lambda_box)
                seen["box_kept"] = better.float().sum()
        return terms, seen

    def masks(self, view: View) -> list[Tensor]:
        """M per level (B, 1, h, w)."""
        sizes = [tuple(view.teacher.neck[pair.t].shape[-2:]) for pair in self.phi.pairs]
        return gaussian_masks(view.batch, sizes, self.phi.strides, self.base_px)  # type: ignore[arg-type]

    def roi_outputs(self, view: View) -> tuple[RoIOutputs, RoIOutputs]:
        """Both second stages on the same RoIs."""
        place = "rois" if self.params.proposals == "student" else "proposals"
        return getattr(view.student, place), getattr(view.teacher, place)

    @torch.no_grad()
    def teacher_localizes_better(self, view: View) -> Tensor:
        """(K,) bool: the gate of boxes, per positive RoI."""
        _, t = self.roi_outputs(view)
        kept = t.positive
        image, rois = t.rois[kept, 0].long(), t.rois[kept, 1:]
        truths = view.batch.all_boxes()[0][view.batch.offsets()[image] + t.gt[kept]]
        by_teacher = heads.roi_boxes(_box_head(view.detector.network), t.deltas[kept], rois, t.labels[kept])
        # Against the RoI itself, not against the student's refined box (second-hand).
        return broadcast_iou(by_teacher, truths) > broadcast_iou(rois, truths)

    @torch.no_grad()
    def visualize(self, view: View) -> list[Visualization]:
        """Show the Gaussians of every level, and the RoIs whose gate of boxes is open."""
        drawn = []
        if self.params.lambda_feat > 0:
            for stride, mask in zip(self.phi.strides, self.masks(view), strict=True):
                drawn.append(Visualization(f"Gaussians, stride {stride}", heat=mask[:, 0]))
        if self.params.lambda_box > 0:
            _, t = self.roi_outputs(view)
            rows = t.rois[t.positive][self.teacher_localizes_better(view)]
            boxes = [rows[rows[:, 0] == image, 1:] for image in range(len(view.batch.boxes))]
            drawn.append(Visualization("RoIs whose boxes the teacher teaches", boxes=boxes))
        return drawn


def _box_head(detector: Any) -> Any:
    """The box head whose predictions are compared; of a cascade the last."""
    head, cascaded = heads.roi_head(detector)
    return head.bbox_head[-1] if cascaded else head.bbox_head


def _coder(coder: Any) -> str:
    """Class and scales of a box coder, as a text that can be compared."""
    parts = [f"{key} {tuple(value)}" for key in ("means", "stds") if (value := getattr(coder, key, None)) is not None]
    return " ".join([type(coder).__name__, *parts])


# ---------------------------------------------------------------------------------------------------------------------
# Masks


def gaussian_masks(batch: Batch, sizes: list[tuple[int, int]], strides: list[int], base_px: float) -> list[Tensor]:
    """Per level (B, 1, h, w): the Gaussians of the boxes that belong to it."""
    boxes, image = batch.all_boxes()
    level = assign_levels(boxes, base_px, len(sizes))
    masks = []
    for index, ((height, width), stride) in enumerate(zip(sizes, strides, strict=True)):
        x1, y1, x2, y2 = (boxes / stride).unbind(1)
        first_x, first_y, last_x, last_y = cell_bounds(boxes, stride, height, width).unbind(1)
        # One factor without the boxes of other levels is enough: the product is 0 where either of them is.
        across = gaussian_1d(x1, x2, first_x, last_x, width) * (level == index)[:, None]
        down = gaussian_1d(y1, y2, first_y, last_y, height)
        masks.append(max_per_image(down[:, :, None] * across[:, None, :], image, len(batch.boxes))[:, None])
    return masks


def gaussian_1d(low: Tensor, high: Tensor, first: Tensor, last: Tensor, cells: int) -> Tensor:
    """(G, cells): exp(-((x - centre) / (side / 2))^2 / 2) at the centres of cells, 0 outside first..last-1.

    low, high: (G,) edges of boxes in cells; a side is at least one cell. first, last: (G,) long.
    """
    at = torch.arange(cells, device=low.device)
    half = ((high - low).clamp(min=1) / 2)[:, None]
    value = torch.exp(-0.5 * ((at + 0.5 - ((low + high) / 2)[:, None]) / half).square())
    return value * ((at >= first[:, None]) & (at < last[:, None]))


# ---------------------------------------------------------------------------------------------------------------------
# Terms


def feature_loss(pairs: list[tuple[Tensor, Tensor]], masks: list[Tensor], elements: bool = False) -> Tensor:
    """Compute feat, the sum over levels; a level with an empty mask gives 0.

    Args:
        pairs: per level phi(S) and T, (B, M, h, w) each.
        masks: per level M, (B, 1, h, w).
        elements: whether the divisor counts channels too.

    Returns:
        A scalar.
    """
    per_level = []
    for (s, t), mask in zip(pairs, masks, strict=True):
        size = mask.sum() * (t.shape[1] if elements else 1)  # below 1 for one small box, so a clamp would be wrong
        per_level.append((mask * square_distance(s, t)).sum() / torch.where(size > 0, 2 * size, 1))
    return torch.stack(per_level).sum()


def teacher_more_confident(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """(K,) bool: the teacher gives the true class more than the student; logits (K, C + 1), labels (K,)."""
    by_s, by_t = (F.log_softmax(z.detach(), dim=1).gather(1, labels[:, None])[:, 0] for z in (student, teacher))
    return by_t > by_s


def soft_bce(student: Tensor, teacher: Tensor) -> Tensor:
    """Per row, summed over classes: -p_t log p_s - (1 - p_t) log(1 - p_s), p softmax; (K, C + 1) -> (K,)."""
    p_t = teacher.detach().softmax(1)
    return -(p_t * F.log_softmax(student, dim=1) + (1 - p_t) * log_complement(student)).sum(1)


def log_complement(z: Tensor) -> Tensor:
    """log(1 - softmax(z)) of (K, C), finite also where one class has it all."""
    top = z.argmax(1, keepdim=True)
    # All but the largest are at most 1/2; 1 minus the largest is what the others have together.
    others = torch.log1p(-z.softmax(1).scatter(1, top, 0.0))
    of_top = z.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True) - z.logsumexp(1, keepdim=True)
    return others.scatter(1, top, of_top)


def gated_mean(values: Tensor, gate: Tensor) -> Tensor:
    """Sum of values (K,) where gate (K,) is open, over K; 0 with a graph where none is or K is 0."""
    return (values * gate).sum() / max(len(values), 1)
