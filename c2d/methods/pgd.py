"""PGD: Prediction-Guided Distillation for Dense Object Detection. Yang, Ochal, Storkey, Crowley, ECCV 2022.

https://arxiv.org/abs/2203.05469. A teacher finds an object from a few of the cells in its box. These key predictive
regions are selected by the quality of what the teacher predicts there, and the last maps of both towers of the head
are imitated in them. p: the teacher's score of the object's class, b: its box, g: the object's box:

    q      1[location in g] p^(1 - xi) IoU(b, g)^xi
    M_fg   the K cells of all levels with the best q of an object, weighted by the Gaussian that is fitted to their
           locations (maximum likelihood): exp(-d' S^-1 d / 2); the greatest over the objects
    M_bg   1 in cells whose location is in no box

P and A are the attention of FGD, over the cells of a map and over the channels of a cell:

    P(F) = h w softmax_hw(mean_c |F| / T)      A(F) = M softmax_c(|F| / T)
    cls_fg  (1/B) sum M_fg / |M_fg| P(T) sum_c A(T) (phi(S) - T)^2        weight alpha
    cls_bg  (1/B) sum M_bg / |M_bg| P(T) sum_c A(T) (phi(S) - T)^2        weight beta
    cls_att (1/B) sum |P(phi(S)) - P(T)| + mean over cells of sum_c |A(phi(S)) - A(T)|       weight delta
    reg_fg  mean over cells with M_fg > 0 of  M_fg mean_c A(T) (phi(S) - T)^2                weight gamma
    reg_att mean over cells with M_fg > 0 of  sum_c |A(phi(S)) - A(T)|                       weight delta

per level, summed. |M| counts the cells above 0 of an image on the level. phi is a 1x1 convolution where the widths
differ, one for the levels of a tower.

Departures from the paper or the released code:
  * Of the paper the abstract was read; the released code has no licence that we found, and was not used. Three forms
    are those of a re-implementation, which may differ from the paper: the axes of P and A (A over the channels of each
    cell), sums and divisors of the cls terms, and means over the cells of the region in the reg terms.
  * K, xi and T are unverified, and so are the weights for other students than ATSS.
  * 0.01 px^2 are added to both variances of the Gaussian, instead of noise on the locations.
  * A cell with several anchors (RetinaNet) has the q of the best of them; p is the class score without centre-ness.
  * One K and one xi for both towers.
  * The student's head is not started from the teacher's weights here; `init: teacher` does that.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.heads import dense_head
from c2d.detectors.outputs import Needs
from c2d.detectors.recording.anchors import Priors
from c2d.detectors.recording.head_towers import depth, tower_channels
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.methods.parts.pgd_regions import key_regions
from c2d.ops.adapters import conv_adapter_if_needed, resize_to

OPEN = unverified("read for ATSS in a list of configurations; the paper's own, and those of other students, are not")
UNKNOWN = unverified("no source was found; a common value of this quality score")


class PGDParams(Params):
    """The paper's symbols."""

    K: int = Field(default=30, gt=0, description="locations of each object", json_schema_extra=UNKNOWN)
    xi: float = Field(
        default=0.8, ge=0, le=1, description="exponent of the IoU in the quality; that of the score is 1 - xi",
        json_schema_extra=UNKNOWN,
    )  # fmt: skip
    T: float = Field(default=0.8, gt=0, description="temperature of the attention", json_schema_extra=OPEN)
    alpha: float = Field(default=0.08, ge=0, description="weight of cls_fg", json_schema_extra=OPEN)
    beta: float = Field(default=0.04, ge=0, description="weight of cls_bg", json_schema_extra=OPEN)
    gamma: float = Field(default=0.128, ge=0, description="weight of reg_fg", json_schema_extra=OPEN)
    delta: float = Field(default=8e-4, ge=0, description="weight of cls_att and of reg_att", json_schema_extra=OPEN)


class PGD(Distiller):
    """Single-stage detectors with two towers. Terms `cls_fg`, `cls_bg`, `cls_att`, `reg_fg`, `reg_att`."""

    NAME = "pgd"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = PGDParams
    WEIGHTS: ClassVar = {"cls_fg": "alpha", "cls_bg": "beta", "cls_att": "delta", "reg_fg": "gamma", "reg_att": "delta"}
    GATED = ("cls_bg",)  # one box may cover all there is
    DETECTORS = ("retinanet", "atss", "gfl", "fcos")
    COST = "teacher to the end of its head; the IoU of its boxes and the ground truth"
    SOURCE = (
        "the paper's abstract; attention and divisors from a re-implementation (wjm202/PaddleDetection_ssod_detr "
        "4829628); values from an excerpt of a configuration"
    )
    needs = Needs(dense=True, towers=True)

    def __init__(self, params: PGDParams, context: Context) -> None:
        """Pair the levels of both heads, and read the widths of their towers.

        Raises:
            InputError: there is no detector teacher, its towers cannot be read, or no stride is common.
        """
        student, teacher = context.layouts(self.NAME)
        super().__init__(params)
        if teacher.dense is None or teacher.detector not in self.DETECTORS:
            raise InputError(
                f"pgd reads the towers of the teacher's head, and those of {teacher.detector} cannot be read; choose a "
                f"teacher of {', '.join(self.DETECTORS)}"
            )
        assert student.dense is not None
        ours, theirs = student.dense.strides, teacher.dense.strides
        self.strides = [stride for stride in theirs if stride in ours]
        if not self.strides:
            raise InputError(f"pgd: the heads have no stride in common; student: {ours}; teacher: {theirs}")
        self.pairs = [(ours.index(stride), theirs.index(stride)) for stride in self.strides]
        self.priors = Priors(dense_head(context.detector.network))
        weights = {term: getattr(params, name) for term, name in self.WEIGHTS.items()}
        self.weights = {term: weight for term, weight in weights.items() if weight > 0}
        self.phi_cls, self.phi_reg = nn.Identity(), nn.Identity()
        widths = [
            tower_channels(head, depth(head)) for head in map(dense_head, (context.student, context.detector.network))
        ]
        for tower, s, t in zip(("cls", "reg"), *widths, strict=True):
            # What no term uses is not trained, so that DDP waits for nothing.
            if any(term.startswith(tower) for term in self.weights):
                setattr(self, f"phi_{tower}", conv_adapter_if_needed(1)(s, t))
                how = "as it is" if s == t else "by a 1x1 convolution"
                self.notes.append(f"{tower} tower, strides {self.strides}: {s} -> {t} {how}")

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute the terms of both towers.

        Args:
            view: one training step: tower maps (B, M, h, w) of both heads, the teacher's raw outputs, and the boxes of
                the images, xyxy px of the batch tensor.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, each the sum over levels; observed: cells in
            M_fg per image.
        """
        T, masks = self.params.T, self.masks(view)
        student, teacher = view.towers()
        per_level: dict[str, list[Tensor]] = {term: [] for term in self.weights}
        for (place_s, place_t), (fg, bg) in zip(self.pairs, masks, strict=True):
            t = teacher.classification[-1][place_t].detach()
            s = resize_to(self.phi_cls(student.classification[-1][place_s]), t)
            found = {"cls_fg": (mean_weights(fg), s, t), "cls_bg": (mean_weights(bg), s, t)}
            for term in found.keys() & per_level.keys():
                per_level[term].append(attended(*found[term], T))
            if "cls_att" in per_level:
                per_level["cls_att"].append(attention_distance(s, t, T))
            t = teacher.regression[-1][place_t].detach()
            s = resize_to(self.phi_reg(student.regression[-1][place_s]), t)
            ours, theirs = (maps.permute(0, 2, 3, 1)[fg > 0] for maps in (s, t))
            if "reg_fg" in per_level:
                per_level["reg_fg"].append(region_distance(ours, theirs, fg[fg > 0], T))
            if "reg_att" in per_level:
                per_level["reg_att"].append(channel_distance(ours, theirs, T))
        terms = {term: Term(torch.stack(per_level[term]).sum(), weight) for term, weight in self.weights.items()}
        cells = torch.stack([(fg > 0).sum() for fg, _ in masks]).sum() / len(view.batch.boxes)
        return terms, {"cells": cells}

    def masks(self, view: View) -> list[tuple[Tensor, Tensor]]:
        """M_fg and M_bg, each (B, h, w), of the levels that are compared."""
        regions = key_regions(view.dense()[1], self.priors, view.batch, self.params.K, self.params.xi)
        return [(regions.foreground[t], regions.background[t]) for _, t in self.pairs]

    def visualize(self, view: View) -> list[Visualization]:
        """Show M_fg of every level."""
        named = zip(self.strides, self.masks(view), strict=True)
        return [Visualization(f"key predictive region, stride {stride}", heat=fg) for stride, (fg, _) in named]


# ---------------------------------------------------------------------------------------------------------------------
# Attention


def mean_weights(mask: Tensor) -> Tensor:
    """M / |M| of a mask (B, h, w): divided by its number of cells above 0, for each image."""
    return mask / (mask > 0).sum((1, 2), keepdim=True).clamp(min=1)


def spatial_attention(maps: Tensor, T: float) -> Tensor:
    """P: (B, M, h, w) -> (B, h, w), every sample sums to h w."""
    strength = maps.abs().mean(1)
    return strength[0].numel() * (strength / T).flatten(1).softmax(1).view_as(strength)


def channel_attention(maps: Tensor, T: float) -> Tensor:
    """A: the shape of `maps` (B, M, h, w) or rows (n, M); every cell sums to M over its channels."""
    return maps.shape[1] * (maps.abs() / T).softmax(1)


# ---------------------------------------------------------------------------------------------------------------------
# Losses


def attended(mask: Tensor, student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """(1/B) sum mask P A (phi(S) - T)^2, a scalar, of a mask (B, h, w) and maps (B, M, h, w)."""
    over_channels = (channel_attention(teacher, T) * (student - teacher).square()).sum(1)
    return (mask * spatial_attention(teacher, T) * over_channels).sum() / len(teacher)


def attention_distance(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """cls_att of maps (B, M, h, w): a scalar."""
    cells = (spatial_attention(student, T) - spatial_attention(teacher, T)).abs().sum() / len(teacher)
    channels = (channel_attention(student, T) - channel_attention(teacher, T)).abs().sum(1).mean()
    return cells + channels


def region_distance(student: Tensor, teacher: Tensor, weight: Tensor, T: float) -> Tensor:
    """reg_fg of the rows (n, M) of cells with a weight (n,): a scalar; 0 without cells."""
    distance = (channel_attention(teacher, T) * (student - teacher).square()).mean(1)
    return (weight * distance).sum() / max(len(weight), 1)


def channel_distance(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """reg_att of rows (n, M) of cells: a scalar; 0 without cells."""
    return (channel_attention(student, T) - channel_attention(teacher, T)).abs().sum() / max(len(teacher), 1)
