"""DeFeat: Distilling Object Detectors via Decoupled Features. Guo, Han, Wang, Wu, Chen, Xu, Xu, CVPR 2021.

https://arxiv.org/abs/2103.14475. Objects and background are imitated separately: each region of the neck's maps has
its own normaliser and weight, and so have positive and negative proposals. M_l is 1 in the cells of the ground-truth
boxes that belong to level l by their size; phi_l is a 3x3 convolution; L levels, C_l channels:

    obj            L_obj = (1/L) sum_l  sum M_l (phi_l(S_l) - T_l)^2 / max(1, 2 C_l sum M_l)
    bg             L_bg  = (1/L) sum_l  sum (1 - M_l) (phi_l(S_l) - T_l)^2 / max(1, 2 C_l sum (1 - M_l))
    cls_obj        (1/K_obj) sum over positive proposals k of  T_obj^2 KL(p^t_k || p^s_k) at temperature T_obj
    cls_bg         the same over negative ones, with T_bg
    backbone_obj, backbone_bg    L_obj and L_bg of backbone maps; their mask holds all boxes on every level

The normaliser is one number for the whole batch and counts elements, so each is half a mean squared error.

Departures from the paper or the released code:
  * The paper's weights for COCO and for RetinaNet are unknown here. 3 and 12 are those of the released VOC config for
    Faster R-CNN; a re-implementation takes 4 and 16 on COCO.
  * The proposal terms are off, as they are in effect in the released config (which names weight 2 and T = 1, and never
    switches them on) and in the re-implementation (which calls them unstable); the paper reports them as a gain.
  * The backbone terms are off, as in the released config. Their phi has a ReLU behind it, as there.
  * BUG(C) avoided: positive and negative proposals are separated by the sampling that drew them; the code takes the
    labels of another one, the student's own.
  * BUG(C) avoided: background is the class C; the code takes the largest label of the batch.
  * BUG(C) avoided: one-stage detectors, whose path cannot run in the code. The scale of the level rule (56 px at
    stride 4, the code's) grows with the finest stride for other pyramids, and shrinks for students whose anchors or
    RoI levels are smaller than mmdet's stock; that is ours and unverified.
  * Proposal terms of a cascade: its last stage gets raw proposals, which it does not get in training; by that stage's
    own rule few of them are positive except the added ground truths. Meant for Faster R-CNN.
  * A box that begins on the far border gets the last cell; the code fails there.
  * Levels pair by stride; those that only one detector has are left out. The code pairs all levels by their index.
  * phi begins with bias 0; the code's branch for truncated weights leaves the convolution's own bias (uniform, within
    one over the root of its inputs), which is larger than what the weights give at first. Both begin with weights near
    zero (1e-4 times normal numbers within two deviations: truncated here, the remainder of a division by 2 there).
  * Masks are computed without loops, in fp32, and not repeated over channels: equal values.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from c2d.detectors.outputs import Needs
from c2d.detectors.recording import roi_stage
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import FeatureAdapter, conv_adapter, pair_levels
from c2d.ops.masks import object_masks, square_distance

TEMPERATURE = unverified("the paper's is unknown; the released config names it, and never switches the term on")
PROPOSALS = unverified("2 in the released config, which never switches it on; off in effect there, and here")


class DeFeatParams(Params):
    """The values of the released VOC config for Faster R-CNN; the paper's own are unverified."""

    a_obj: float = Field(
        default=3.0, ge=0, description="weight of objects in the neck; released code, Faster R-CNN on VOC",
        json_schema_extra=unverified("other detectors and COCO; a re-implementation takes 4 there"),
    )  # fmt: skip
    a_bg: float = Field(
        default=12.0, ge=0, description="weight of the neck's background; released code, Faster R-CNN on VOC",
        json_schema_extra=unverified("other detectors and COCO; a re-implementation takes 16 there"),
    )  # fmt: skip
    b_obj: float = Field(
        default=0.0, ge=0, description="weight of positive proposals (two-stage)", json_schema_extra=PROPOSALS
    )
    b_bg: float = Field(
        default=0.0, ge=0, description="weight of negative proposals (two-stage)", json_schema_extra=PROPOSALS
    )
    T_obj: float = Field(
        default=1.0, gt=0, description="temperature of positive proposals; released code, inactive",
        json_schema_extra=TEMPERATURE,
    )  # fmt: skip
    T_bg: float = Field(
        default=1.0, gt=0, description="temperature of negative proposals; released code, inactive",
        json_schema_extra=TEMPERATURE,
    )  # fmt: skip
    backbone_obj: float = Field(default=0.0, ge=0, description="weight of objects in the backbone; released code: off")
    backbone_bg: float = Field(default=0.0, ge=0, description="weight of the backbone's background; released code: off")
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )
    backbone_levels: tuple[int, ...] | None = Field(
        default=(8, 16, 32), description="strides of the backbone maps (C3 to C5, the code's); null: all that both have"
    )
    base_px: float | None = Field(
        default=None, gt=0, description="level l takes boxes of sides from base_px * 2^l px; null: 14 times the finest "
        "stride, multiplied by the size of the student's anchors or RoI levels relative to mmdet's stock",
        json_schema_extra=unverified("56 px at stride 4 is the code's; pyramids that begin elsewhere are ours"),
    )  # fmt: skip

    @property
    def neck(self) -> bool:
        """Whether the neck is compared."""
        return self.a_obj > 0 or self.a_bg > 0

    @property
    def backbone(self) -> bool:
        """Whether the backbone is compared."""
        return self.backbone_obj > 0 or self.backbone_bg > 0

    @property
    def proposals(self) -> bool:
        """Whether the second stages are compared."""
        return self.b_obj > 0 or self.b_bg > 0


class DeFeat(Distiller):
    """Every detector, the teacher of any family; the proposal terms need two second stages with the same classes."""

    NAME = "defeat"
    VERSION = 2
    TEACHERS = ("detector",)
    Params = DeFeatParams
    WEIGHTS: ClassVar = {
        "obj": "a_obj", "bg": "a_bg", "cls_obj": "b_obj", "cls_bg": "b_bg",
        "backbone_obj": "backbone_obj", "backbone_bg": "backbone_bg",
    }  # fmt: skip
    GATED = ("backbone_obj", "cls_obj")  # nearest resizing may lose small boxes; a batch may have no positive proposal
    COST = "teacher to its neck; with b_obj or b_bg its proposals and both second stages on them"
    SOURCE = "released code (VOC config); the neck terms also in a secondary source; paper's COCO values unverified"

    def __init__(self, params: DeFeatParams, context: Context) -> None:
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        self.needs = Needs(neck=True, backbone=params.backbone, proposals=params.proposals)
        self.pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels)
        finest = self.pairs[0].stride
        self.base_px = params.base_px or student.base_px(finest)
        self.notes.append(f"boxes of sides below {2 * self.base_px:g} px belong to stride {finest}")
        if params.neck:
            self.phi = FeatureAdapter(self.pairs, conv_adapter(3, init="small"), "by a 3x3 convolution")
            self.notes += self.phi.notes
        if params.backbone:
            maps = pair_levels(f"{self.NAME} (backbone)", student.backbone, teacher.backbone, params.backbone_levels)
            make = conv_adapter(3, relu=True, init="small")
            self.phi_backbone = FeatureAdapter(maps, make, "by a 3x3 convolution with ReLU", "backbone")
            self.notes += self.phi_backbone.notes
        if params.proposals:
            roi_stage.check_roi_stages(
                "defeat with b_obj or b_bg", context.student, context.detector, context.num_classes
            )

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute L_obj and L_bg of neck and backbone, and the two KL terms of the proposals.

        Args:
            view: one training step: neck and backbone maps (B, M, h, w); logits (K, C + 1) of both second stages on
                the teacher's proposals (K, 5): image, xyxy px of the batch tensor.

        Returns:
            Scalars in fp32: the trained terms of `WEIGHTS` with a weight above 0, and the observed numbers of
            object cells and of positive and negative proposals.
        """
        p = self.params
        values: dict[str, Tensor] = {}
        seen: dict[str, Tensor] = {}
        if p.neck:
            masks = self.masks(view)
            values["obj"], values["bg"] = region_losses(self.phi(view.student, view.teacher), masks)
            seen["object_cells"] = torch.stack([mask.sum() for mask in masks]).sum()
        if p.backbone:
            maps = self.phi_backbone(view.student, view.teacher)
            drawn = resized_masks(self.backbone_mask(view), [t for _, t in maps])
            values["backbone_obj"], values["backbone_bg"] = region_losses(maps, drawn)
        if p.proposals:
            s, t = view.student.proposals, view.teacher.proposals
            assert s is not None  # `needs` names them
            assert t is not None
            values["cls_obj"], values["cls_bg"] = proposal_losses(s.logits, t.logits, s.positive, p.T_obj, p.T_bg)
            seen |= {"proposals_obj": s.positive.float().sum(), "proposals_bg": (~s.positive).float().sum()}
        weights = {term: getattr(p, name) for term, name in self.WEIGHTS.items()}
        return {term: Term(value, weights[term]) for term, value in values.items() if weights[term] > 0}, seen

    def masks(self, view: View) -> list[Tensor]:
        """Per level of the neck (B, 1, h, w): the cells of its objects."""
        maps = [view.teacher.neck[pair.t] for pair in self.pairs]
        return object_masks(view.batch, maps, [pair.stride for pair in self.pairs], self.base_px)

    def backbone_mask(self, view: View) -> Tensor:
        """(B, 1, h, w): the cells of all objects, on the finest level of the neck."""
        finest = self.pairs[0]
        maps = [view.teacher.neck[finest.t]]
        return object_masks(view.batch, maps, [finest.stride], self.base_px, by_level=False)[0]

    @torch.no_grad()
    def visualize(self, view: View) -> list[Visualization]:
        """Show M of every level, the backbone mask, and the proposals."""
        drawn = []
        if self.params.neck:
            for pair, mask in zip(self.pairs, self.masks(view), strict=True):
                drawn.append(Visualization(f"objects, stride {pair.stride}", heat=mask[:, 0]))
        if self.params.backbone:
            drawn.append(Visualization("objects in the backbone", heat=self.backbone_mask(view)[:, 0]))
        if (sampled := view.student.proposals) is not None and self.params.proposals:
            for name, chosen in (("positive", sampled.positive), ("negative", ~sampled.positive)):
                rows = sampled.rois[chosen]
                boxes = [rows[rows[:, 0] == image, 1:] for image in range(len(view.batch.boxes))]
                drawn.append(Visualization(f"{name} proposals of the teacher", boxes=boxes))
        return drawn


# ---------------------------------------------------------------------------------------------------------------------
# Feature terms


def resized_masks(mask: Tensor, maps: list[Tensor]) -> list[Tensor]:
    """A mask (B, 1, h, w) in the size of each map: the nearest cell, as released."""
    return [F.interpolate(mask, size=one.shape[-2:], mode="nearest") for one in maps]


def region_losses(pairs: list[tuple[Tensor, Tensor]], masks: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Compute L_obj and L_bg, means over levels.

    Args:
        pairs: per level phi(S) and T, (B, M, h, w) each.
        masks: per level (B, 1, h, w) in {0, 1}.

    Returns:
        Two scalars.
    """
    obj, bg = zip(*(_regions(s, t, mask) for (s, t), mask in zip(pairs, masks, strict=True)), strict=True)
    return torch.stack(obj).mean(), torch.stack(bg).mean()


def _regions(student: Tensor, teacher: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    distance = square_distance(student, teacher)
    # The divisor counts elements: FGFI and FRS count cells, so their weights do not carry over.
    obj, bg = (
        (region * distance).sum() / (2 * teacher.shape[1] * region.sum()).clamp(min=1) for region in (mask, 1 - mask)
    )
    return obj, bg


# ---------------------------------------------------------------------------------------------------------------------
# Proposal terms


def proposal_losses(
    student: Tensor, teacher: Tensor, positive: Tensor, T_obj: float, T_bg: float
) -> tuple[Tensor, Tensor]:
    """Compute the mean tempered KL over the positive and over the negative proposals; 0 for an empty group.

    Args:
        student, teacher: logits (K, C + 1) of the same proposals, background last.
        positive: (K,) bool, from the sampling that drew the proposals.
        T_obj, T_bg: temperatures of the two groups.

    Returns:
        Two scalars.
    """
    obj, bg = (
        (group * tempered_kl(student, teacher, T)).sum() / group.sum().clamp(min=1)
        for group, T in ((positive, T_obj), (~positive, T_bg))
    )
    return obj, bg


def tempered_kl(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """T^2 KL(teacher || student) per row, summed over classes: (K, C + 1) -> (K,)."""
    log_s, log_t = F.log_softmax(student / T, dim=1), F.log_softmax(teacher.detach() / T, dim=1)
    return T**2 * (log_t.exp() * (log_t - log_s)).sum(1)
