"""FGFI: Distilling Object Detectors with Fine-grained Feature Imitation. Wang, Yuan, Zhang, Feng, CVPR 2019.

https://arxiv.org/abs/1906.03609. The teacher's map is imitated only near objects: where an anchor of the student's own
dense head (or RPN) overlaps a ground-truth box nearly as well as that box's best anchor does.

    M = 1 where, for some box j and some anchor of the cell,  IoU > psi * (the largest IoU of any anchor with j)

    imit   L_imit = 1/(2 N_p) sum over levels and cells of  M || phi(S) - T ||^2      N_p = sum M

N_p counts cells of all images and levels together, not elements: the value is as many times larger than DeFeat's as
the maps have channels, and weights do not carry over.

Departures from the paper or the released code:
  * Overlaps count pixel edges, as mmdet's; the code adds one pixel to each side. Masks may differ at ties.
  * Pyramids: a box counts on the level of its size alone, and its best anchor is taken there, as another paper's
    released FGFI does; the paper's rule is unverified. `all_levels` is a third party's rule. The scale of the level
    rule (56 px at stride 4) grows with the finest stride for other pyramids; that is ours and unverified.
  * lambda and psi are the code's, for VGG on VOC; the paper's for other detectors are unverified.
  * Anchor-free heads have no anchors: squares of side 8 strides, as ATSS has them; ours.
  * `start` counts iterations from the beginning of the run, as the code's first epoch does.
  * phi begins with bias 0; the code's branch for truncated weights leaves the convolution's own bias (uniform, within
    one over the root of its inputs). So phi(S) begins at 0 here, and at the positive ones of these numbers there.
  * BUG(C) avoided: without an active cell the loss is 0; the code divides by zero.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.batch import Batch
from c2d.detectors.outputs import Needs
from c2d.detectors.recording.anchors import Priors
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import FeatureAdapter, conv_adapter, pair_levels
from c2d.ops.boxes import broadcast_iou
from c2d.ops.masks import assign_levels, square_distance


class FGFIParams(Params):
    """The released code's values (Faster R-CNN with VGG on VOC)."""

    lambda_imit: float = Field(
        default=0.01, ge=0, description="lambda, the weight of the imitation; released code",
        json_schema_extra=unverified("confirmed by the code for VGG on VOC; the paper's per detector are unknown"),
    )  # fmt: skip
    psi: float = Field(
        default=0.5, ge=0, le=1, description="share of the best overlap that an anchor has to exceed; released code",
        json_schema_extra=unverified("confirmed by the code for VGG on VOC; the paper's per detector are unknown"),
    )  # fmt: skip
    all_levels: bool = Field(
        default=False, description="every box on every level, with the best anchor of each; else on its own level",
        json_schema_extra=unverified("the paper's rule for pyramids"),
    )  # fmt: skip
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )
    base_px: float | None = Field(
        default=None, gt=0, description="level l takes boxes of sides from base_px * 2^l px; null: 14 times the finest "
        "stride, multiplied by the size of the student's anchors or RoI levels relative to mmdet's stock",
        json_schema_extra=unverified("56 px at stride 4 is from code; pyramids that begin elsewhere are ours"),
    )  # fmt: skip
    start: int = Field(default=400, ge=0, description="first iteration with the method on; 400 in the released code")


class FGFI(Distiller):
    """Every student whose dense head can be read; the teacher may be of another family. Term `imit`."""

    NAME = "fgfi"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = FGFIParams
    WEIGHTS: ClassVar = {"imit": "lambda_imit"}
    DETECTORS = heads.WITH_DENSE
    COST = "teacher to its neck; overlaps of all anchors with the boxes of each image"
    SOURCE = "released code; the pyramid rule from another paper's released code; paper's values unverified"

    def __init__(self, params: FGFIParams, context: Context) -> None:
        """Pair the levels and find their anchors.

        Raises:
            InputError: the student's dense head cannot be read, or has no anchors of a level's stride.
        """
        super().__init__(params)
        student, teacher = context.layouts(self.NAME)
        self.needs = Needs(neck=params.lambda_imit > 0)
        self.priors = Priors(heads.dense_head(context.student))
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, params.levels)
        for pair in pairs:
            if pair.stride not in self.priors.strides:
                raise InputError(
                    f"fgfi: the student's head has no anchors for {pair.student}, only for strides "
                    f"{', '.join(map(str, self.priors.strides))}; list the levels to use in method.fgfi.levels"
                )
        self.phi = FeatureAdapter(
            pairs if self.needs.neck else [], conv_adapter(3, relu=True, init="small"), "by a 3x3 convolution with ReLU"
        )
        self.base_px = params.base_px or student.base_px(pairs[0].stride)
        self.notes += self.phi.notes
        if self.priors.point_based:
            self.notes.append(f"the student has no anchors: squares of side {Priors.SIDE} strides")
        if not params.all_levels:
            self.notes.append(f"boxes of sides below {2 * self.base_px:g} px belong to stride {pairs[0].stride}")

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute L_imit at the cells of M.

        Args:
            view: one training step: neck maps (B, M, h, w) of both, and the boxes of the images, xyxy px of the
                batch tensor.

        Returns:
            ({"imit": scalar, fp32}, {"cells": N_p, the sum of M}).
        """
        if not self.needs.neck:
            return {}, {}
        masks = self.masks(view)
        value = imitation_loss(self.phi(view.student, view.teacher), masks)
        cells = torch.stack([mask.sum() for mask in masks]).sum()
        return {"imit": Term(value, self.params.lambda_imit)}, {"cells": cells}

    @torch.no_grad()
    def masks(self, view: View) -> list[Tensor]:
        """M per level (B, 1, h, w). Anchors lie over the teacher's cells, which are of the student's stride."""
        pairs, head = self.phi.pairs, self.priors.strides
        sizes = [tuple(maps.shape[-2:]) for maps in view.student.neck]
        places = [head.index(pair.stride) for pair in pairs]
        for pair, place in zip(pairs, places, strict=True):
            sizes[place] = tuple(view.teacher.neck[pair.t].shape[-2:])
        anchors = self.priors.anchors(sizes, view.batch.images.device)  # type: ignore[arg-type]
        counted = None if self.params.all_levels else self.base_px
        used, cells = [anchors[place] for place in places], [sizes[place] for place in places]
        return imitation_masks(view.batch, used, cells, self.params.psi, counted)  # type: ignore[arg-type]

    def visualize(self, view: View) -> list[Visualization]:
        """Show M of every level."""
        if not self.needs.neck:
            return []
        names = [f"near objects, stride {stride}" for stride in self.phi.strides]
        return [Visualization(name, heat=mask[:, 0]) for name, mask in zip(names, self.masks(view), strict=True)]


# ---------------------------------------------------------------------------------------------------------------------
# Mask


def imitation_masks(
    batch: Batch, anchors: list[Tensor], sizes: list[tuple[int, int]], psi: float, base_px: float | None
) -> list[Tensor]:
    """Per level (B, 1, h, w) in {0, 1}.

    Args:
        anchors: per level (h * w * A, 4) xyxy px, those outside of the image included.
        sizes: (h, w) of each level.
        psi: share of the best overlap.
        base_px: of `assign_levels`; None: every box counts on every level.
    """
    masks = []
    for level, (priors, size) in enumerate(zip(anchors, sizes, strict=True)):
        per_image = []
        for boxes in batch.boxes:  # one image at a time: the overlaps of a batch would not fit
            counted = torch.ones_like(boxes[:, 0], dtype=torch.bool)
            if base_px is not None:
                counted = assign_levels(boxes, base_px, len(anchors)) == level
            per_image.append(active_cells(priors, boxes, counted, psi, size[0] * size[1]).view(1, *size))
        masks.append(torch.stack(per_image).float())
    return masks


def active_cells(anchors: Tensor, boxes: Tensor, counted: Tensor, psi: float, cells: int) -> Tensor:
    """(cells,) bool: an anchor of the cell overlaps a box by more than psi times that box's best anchor.

    Args:
        anchors: (cells * A, 4), the A anchors of a cell together.
        boxes: (G, 4).
        counted: (G,) bool: which of them count.
        psi: share of the best overlap.
        cells: of the level.
    """
    overlap = broadcast_iou(anchors[:, None], boxes[None])
    # inf: no overlap exceeds it. Strict, as released: a box that no anchor overlaps (0 > 0) makes no cell active.
    floor = torch.where(counted, psi * overlap.amax(0), torch.inf)
    return (overlap > floor).view(cells, -1).any(1)


# ---------------------------------------------------------------------------------------------------------------------
# Loss


def imitation_loss(pairs: list[tuple[Tensor, Tensor]], masks: list[Tensor]) -> Tensor:
    """L_imit of (phi(S), T), each (B, M, h, w), at the cells of masks (B, 1, h, w); 0 without any."""
    total = torch.stack([(m * square_distance(s, t)).sum() for (s, t), m in zip(pairs, masks, strict=True)]).sum()
    cells = torch.stack([mask.sum() for mask in masks]).sum()
    # Without a cell the total is 0 and keeps its graph, which DDP waits for.
    return total / (2 * cells).clamp(min=1)
