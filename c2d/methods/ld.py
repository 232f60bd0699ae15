"""LD: Localization Distillation for Dense Object Detection. Zheng, Ye, Wang, Ren, Zuo, Hou, Cheng, CVPR 2022.

https://arxiv.org/abs/2102.12252. Heads such as GFL's write each edge of a box as a distribution over reg_max + 1
distances. Such a distribution can be distilled like a classification, T^2 KL(p_t || p_s) with p = sm(z / T):

    KL_a   = sum over the four edges of the mean over bins of T^2 p_t (log p_t - log p_s), at location a
    main   L = 1/4  sum over positives a of  s_a KL_a      s_a: the student's greatest class score, detached
    vlr    L = 1/16 sum over the VLR of      u_a KL_a      u_a: IoU of anchor and ground truth
    cls    L = sum over levels l of 1/K_l sum over its K_l positives of the mean over classes of
               T_cls^2 p_t (log p_t - log p_s)                      p = sm(z / T_cls)

The valuable localisation region (VLR, `c2d.methods.parts.ld_region`) of a ground truth j is the ring of anchors with
gamma t_j <= DIoU < t_j around the positives; t_j is ATSS's threshold, mean + standard deviation of the IoU of the k
nearest anchors of each level. The authors' tables are class distillation and both regions: all three are on.

Departures from the paper or the released code:
  * Sums over locations with fixed divisors, as released: they grow with the number of positives and images, and are
    not divided by the sum of scores that divides the box and distribution losses of the student.
  * An anchor in the rings of several ground truths gets the greatest of their IoUs, as released.
  * BUG(C): the released DIoU divides the intersection by the anchor's area in place of the union, so that its rings
    also hold anchors far smaller than the object (148,990 anchors against 58,408 on 59 COCO images of 800 x 1333 px).
    `ring: defined` is the paper's; `ring: released` is the code's. Which one the published AP used is unknown.
  * All anchors of every level count, those on padding or across the border too.
  * An image without ground truth has no VLR. BUG(C): the released function returns another object in its place.
  * cls is a softmax over the class logits, although they are GFL's sigmoid scores, as released. So is its divisor: a
    mean over the positives of each level, levels summed (a level with few positives counts as much as one with many).
  * feat is left out (a masked squared error, weight 2 as released): name `fgfi` as a second method for it. BUG(C): the
    released "decoupled" choice of its region compares mismatched sets of locations.
  * RetinaNet, FCOS and ATSS students are refused. The paper's ones were given edge distributions first (RetinaNet: LD
    weight 5, cls weight 10 at T = 8), teacher and student; mmdet has no such heads, a student here is stock mmdet, and
    a form for plain box deltas is in no source. `bckd` and `crosskd` teach the boxes of these heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors.heads import dense_head
from c2d.detectors.outputs import Needs
from c2d.detectors.recording.anchors import Priors
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.methods.parts.ld_region import Ring, vlr_weights
from c2d.ops.adapters import check_same_heads

BOXES_OF_ANY_HEAD = "bckd or crosskd, which compare the boxes of any dense head"
MAIN, VLR = 4.0, 16.0
"""Divisors of main and vlr, as released."""


class LDParams(Params):
    """Values of the authors' released GFL configurations."""

    lambda_main: float = Field(default=0.25, ge=0, description="weight of LD on the positives; as released")
    lambda_vlr: float = Field(default=0.25, ge=0, description="weight of LD on the VLR; as released")
    lambda_cls: float = Field(
        default=10.0, ge=0, description="weight of class distillation on the positives; as released"
    )
    T: float = Field(default=10.0, gt=0, description="temperature of main and vlr; as released")
    T_cls: float = Field(default=2.0, gt=0, description="temperature of cls; as released")
    gamma: float = Field(default=0.25, ge=0, lt=1, description="inner end of the VLR, as a share of t_j; as released")
    ring: Ring = Field(
        default="defined",
        description="DIoU of the VLR: `defined` by the paper, or as `released` with the anchor's area below the line",
        json_schema_extra=unverified("which of the two the published AP used is unknown"),
    )
    k: int = Field(default=9, gt=0, description="nearest anchors of each level from which t_j follows; as in ATSS")


class LD(Distiller):
    """GFL students and GFL teachers with the same head layout. Terms `main`, `vlr`, `cls`."""

    NAME = "ld"
    VERSION = 2
    TEACHERS = ("detector",)
    Params = LDParams
    WEIGHTS: ClassVar = {"main": "lambda_main", "vlr": "lambda_vlr", "cls": "lambda_cls"}
    GATED = ("vlr",)
    DETECTORS = ("gfl",)
    DETECTORS_REASON = f"it compares edge distributions, and other heads predict none; see {BOXES_OF_ANY_HEAD}"
    COST = "teacher to its head; IoU of every anchor with every ground truth"
    SOURCE = "the authors' released code; the ring of the published AP unverified"

    def __init__(self, params: LDParams, context: Context) -> None:
        super().__init__(params)
        check_heads(context)
        at_positives = params.lambda_main > 0 or params.lambda_cls > 0
        self.needs = Needs(positives=at_positives, dense=at_positives or params.lambda_vlr > 0)
        self.priors = Priors(dense_head(context.student))

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute `main` and `cls` on the positives and `vlr` on the valuable localisation region.

        Args:
            view: one training step: class logits (B, C, h, w) and edge logits (B, 4 * bins, h, w) of both, per
                level, and the student's positives.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, and the observed numbers and summed weights of
            VLR anchors and positives.
        """
        p = self.params
        terms: dict[str, Term] = {}
        seen: dict[str, Tensor] = {}
        if p.lambda_vlr > 0:
            levels = self.vlr(view)
            ring = torch.cat(levels, 1) > 0  # in a ring IoU >= DIoU > 0, so 0 means outside of all
            # Level by level, then image by image: the order in which `predictions` returns the chosen locations.
            weight = torch.cat([level[level > 0] for level in levels])
            _, edges_s, _, edges_t = predictions(view, ring)
            terms["vlr"] = Term(localization_loss(edges_s, edges_t, weight, p.T) / VLR, p.lambda_vlr)
            seen |= {"vlr_anchors": ring.sum().float(), "vlr_iou": weight.sum()}
        if self.needs.positives:
            chosen = positive_mask(view)
            classes_s, edges_s, classes_t, edges_t = predictions(view, chosen)
            score = classes_s.detach().sigmoid().amax(1)
            if p.lambda_main > 0:
                terms["main"] = Term(localization_loss(edges_s, edges_t, score, p.T) / MAIN, p.lambda_main)
            if p.lambda_cls > 0:
                value = classification_loss(classes_s, classes_t, p.T_cls, count_per_level(view, chosen))
                terms["cls"] = Term(value, p.lambda_cls)
            seen |= {"positives": score.new_tensor(float(len(score))), "main_score": score.sum()}
        return terms, seen

    def vlr(self, view: View) -> list[Tensor]:
        """Return the weights of the VLR, (B, N) split by level: an IoU inside, 0 outside."""
        scores = view.dense()[0].scores
        sizes = [(s.shape[2], s.shape[3]) for s in scores]
        anchors = self.priors.anchors(sizes, scores[0].device)
        p = self.params
        per_image = [vlr_weights(anchors, boxes, p.k, p.gamma, p.ring) for boxes in view.batch.boxes]
        return list(torch.stack(per_image).split([len(level) for level in anchors], 1))

    @torch.no_grad()
    def visualize(self, view: View) -> list[Visualization]:
        """Show the VLR of every level, and the boxes that the student predicts at its positives."""
        drawn = []
        if self.params.lambda_vlr > 0:
            dense = view.dense()[0]
            for stride, maps, weight in zip(dense.strides, dense.scores, self.vlr(view), strict=True):
                drawn.append(Visualization(f"VLR, stride {stride}", weight.unflatten(1, maps.shape[-2:])))
        if self.needs.positives:
            positives = view.positives[-1]
            drawn.append(
                Visualization("boxes of the positives", boxes=list(positives.boxes.split(positives.per_image)))
            )
        return drawn


def check_heads(context: Context) -> None:
    """Check that student and teacher are GFL heads of one layout.

    Raises:
        InputError: one of them is no GFL detector, or the layouts differ.
    """
    student, teacher = context.layouts(LD.NAME)
    for who, layout in (("student", student), ("teacher", teacher)):
        if layout.detector != "gfl":
            raise InputError(
                f"ld compares the edge distributions of two GFL heads, and the {who} is '{layout.detector}', whose "
                f"boxes are no distributions; give a GFL {who}, or take {BOXES_OF_ANY_HEAD}"
            )
    check_same_heads(
        LD.NAME, student, teacher, "give a GFL teacher of this data set with the student's reg_max and strides"
    )


def positive_mask(view: View) -> Tensor:
    """(B, N) bool: the student's positives among all locations."""
    assigned, student = view.positives[-1], view.dense()[0]
    if assigned.prior is None:
        raise RuntimeError("the positives have no prior indices; LD needs those of a dense head")
    locations = sum(s.shape[2] * s.shape[3] for s in student.scores)
    chosen = torch.zeros(len(view.batch.boxes), locations, dtype=torch.bool, device=assigned.prior.device)
    chosen[assigned.image, assigned.prior] = True
    return chosen


def predictions(view: View, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gather the predictions of both heads at some locations.

    Args:
        view: one training step.
        chosen: (B, N) bool.

    Returns:
        Of the student, then of the teacher: class logits (n, C) and edge logits (n, 4, bins), level by level.
    """
    (classes_s, edges_s, _), (classes_t, edges_t, _) = (dense.select(chosen) for dense in view.dense())
    return classes_s, edges_s.unflatten(1, (4, -1)), classes_t, edges_t.unflatten(1, (4, -1))


def count_per_level(view: View, chosen: Tensor) -> list[int]:
    """Count the chosen locations (B, N) bool of each level of the dense head, over the images of the batch."""
    cells = [scores.shape[2] * scores.shape[3] for scores in view.dense()[0].scores]
    return [int(level.sum()) for level in chosen.split(cells, 1)]


# ---------------------------------------------------------------------------------------------------------------------
# Losses


def tempered_kl(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    """Return T^2 times the mean over the last dimension of p_t (log p_t - log p_s).

    Summed in fp64: at T = 10 all distributions are nearly alike, and the difference of their logs loses fp32's digits.

    Args:
        z_s: logits of the student, (..., bins) or (K, C).
        z_t: logits of the teacher, same shape; detached.
        T: temperature.
    """
    # The mean over bins is that of mmdet's KnowledgeDistillationKLDivLoss; where others sum, weights do not carry over.
    log_s, log_t = (z_s.double() / T).log_softmax(-1), (z_t.detach().double() / T).log_softmax(-1)
    return T**2 * (log_t.exp() * (log_t - log_s)).mean(-1).to(z_s.dtype)


def localization_loss(z_s: Tensor, z_t: Tensor, weight: Tensor, T: float) -> Tensor:
    """Sum over locations and edges of weight times KL: (n, 4, bins), (n, 4, bins), (n,)."""
    return (weight * tempered_kl(z_s, z_t, T).sum(1)).sum()


def classification_loss(z_s: Tensor, z_t: Tensor, T: float, per_level: Sequence[int]) -> Tensor:
    """Compute the mean KL over the positives of each level, summed over levels; 0 without any.

    Args:
        z_s, z_t: class logits (K, C) of student and teacher, level by level.
        T: temperature.
        per_level: positives of each level, K in all.

    Returns:
        A scalar.
    """
    # As released: mmdet sums the entries that a head returns per level, and each entry is a mean.
    levels = tempered_kl(z_s, z_t, T).split(list(per_level))
    return torch.stack([level.sum() / max(len(level), 1) for level in levels]).sum()
