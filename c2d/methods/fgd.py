"""FGD: Focal and Global Knowledge Distillation for Detectors. Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan, CVPR 2022.

https://arxiv.org/abs/2111.11837. Focal: foreground and background are imitated separately, each under the
teacher's attention. Global: blocks that gather the context of the whole map are compared.

    A_s(F) = h w softmax(mean_c |F| / T)      A_c(F) = M softmax(mean_hw |F| / T)
    M_fg   1 / (cells of the box), of overlapping boxes the largest; every box on every level
    M_bg   1 / (background cells of the image)
    fg     L_fg  = (1/B) sum M_fg A_s(T) A_c(T) (phi(S) - T)^2
    bg     L_bg  = (1/B) sum M_bg A_s(T) A_c(T) (phi(S) - T)^2
    att    L_att = (1/B) [ sum |A_s(phi(S)) - A_s(T)| + sum |A_c(phi(S)) - A_c(T)| ]
    rel    L_rel = (1/B) sum ( GC_s(phi(S)) - GC_t(T) )^2
    L = alpha L_fg + beta L_bg + gamma L_att + lambda L_rel       per neck level, summed

phi is a 1x1 convolution where the channel counts differ. GC is a global context block: softmax-weighted mean of the
map, bottleneck of M/2 with LayerNorm and ReLU, added to every cell; both are trained and begin as the identity.

A box covers the cells from the floor of its lower to the ceil of its upper edges, both included; its area counts them
all, also those that lie outside the map.

Departures from the paper or the released code:
  * `frame` "authors" divides boxes by the image's own size although the map is of the padded batch: under padding the
    masks are stretched beyond the objects. "padded" is the same without the misalignment.
  * An image without boxes has no foreground and background everywhere; one without background has no L_bg.
  * The neck's outputs are read, where the released code hooks the last convolutions inside an FPN: equal for all levels
    that have such a convolution. All levels that both have, of two-stage detectors the finest four, as released.
  * Released values exist for RetinaNet, GFL, FCOS and Faster R-CNN; ATSS and SSD get RetinaNet's, Cascade R-CNN
    Faster R-CNN's.
  * The released settings start the student's neck and head from the teacher's weights and clip gradients at a norm of
    35; both belong to the schedule and are not done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from c2d.detectors.batch import Batch
from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization
from c2d.ops.adapters import FeatureAdapter, conv_adapter_if_needed, pair_levels
from c2d.ops.masks import cell_masks, max_per_image

TWO_STAGE_LEVELS = 4
"""Levels, from the finest, of the released settings for Faster R-CNN and Mask R-CNN; their weights belong to these."""


class FGDParams(Params):
    """The paper's symbols; null takes the value of the released settings for the detector."""

    BY_DETECTOR: ClassVar = {
        "one-stage": {"T": 0.5, "alpha": 1e-3, "beta": 5e-4, "gamma": 5e-4, "lambda_rel": 5e-6},
        "fcos": {"T": 0.8, "alpha": 1.6e-3, "beta": 8e-4, "gamma": 8e-4, "lambda_rel": 8e-6},
        "two-stage": {"T": 0.5, "alpha": 5e-5, "beta": 2.5e-5, "gamma": 5e-5, "lambda_rel": 5e-7},
    }

    T: float | None = Field(default=None, gt=0, description="temperature of the attention; null: 0.5, of FCOS 0.8")
    alpha: float | None = Field(
        default=None, ge=0, description="weight of L_fg; null: 1e-3, of FCOS 1.6e-3, of two-stage detectors 5e-5"
    )
    beta: float | None = Field(
        default=None, ge=0, description="weight of L_bg; null: 5e-4, of FCOS 8e-4, of two-stage detectors 2.5e-5"
    )
    gamma: float | None = Field(
        default=None, ge=0, description="weight of L_att; null: 5e-4, of FCOS 8e-4, of two-stage detectors 5e-5"
    )
    lambda_rel: float | None = Field(
        default=None, ge=0, description="weight of L_rel; null: 5e-6, of FCOS 8e-6, of two-stage detectors 5e-7"
    )
    frame: Literal["authors", "padded"] = Field(
        default="authors", description="size that boxes are divided by: the unpadded image's (released), or the batch's"
    )
    levels: tuple[int, ...] | None = Field(
        default=None,
        description="strides of the neck levels; null: all that both have, of two-stage detectors the finest four",
    )


class FGD(Distiller):
    """Every detector; the teacher may be of another family. Terms `fg`, `bg`, `att`, `rel`."""

    NAME = "fgd"
    VERSION = 2
    TEACHERS = ("detector",)
    Params = FGDParams
    WEIGHTS: ClassVar = {"fg": "alpha", "bg": "beta", "att": "gamma", "rel": "lambda_rel"}
    GATED = ("bg",)  # one box may cover all there is
    COST = "teacher to its neck; two small context blocks on every level"
    SOURCE = "released code and settings"
    needs = Needs(neck=True)

    def __init__(self, params: FGDParams, context: Context) -> None:
        student, teacher = context.layouts(self.NAME)
        super().__init__(params.with_detector_values(student))
        p = self.params
        self.weights = {term: getattr(p, name) for term, name in self.WEIGHTS.items() if getattr(p, name) > 0}
        finest = TWO_STAGE_LEVELS if student.stages == "two-stage" else None
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, p.levels, finest)
        # What no term uses is not trained, so that DDP waits for nothing.
        self.phi = FeatureAdapter(pairs if self.weights else [], conv_adapter_if_needed(1), "by a 1x1 convolution")
        widths = [pair.teacher.channels for pair in pairs if "rel" in self.weights]
        self.gc_s, self.gc_t = (nn.ModuleList(GlobalContext(width) for width in widths) for _ in range(2))
        values = ", ".join(f"{name} {getattr(p, name)}" for name in p.BY_DETECTOR[student.stages])
        self.notes += [f"{student.detector}: {values}", *self.phi.notes]

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute L_fg, L_bg, L_att and L_rel of every level.

        Args:
            view: one training step: neck maps (B, M, h, w) of both, and the boxes of the images, xyxy px of the
                batch tensor.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, each the sum over levels, and the observed
            sums of M_fg and M_bg per image, mean over levels.
        """
        p, pairs = self.params, self.phi(view.student, view.teacher)
        if not pairs:
            return {}, {}
        masks = self._foregrounds(view.batch, [t for _, t in pairs])
        per_level: dict[str, list[Tensor]] = {term: [] for term in self.weights}
        for place, ((s, t), fg) in enumerate(zip(pairs, masks, strict=True)):
            if "fg" in per_level or "bg" in per_level:
                distance = attended(s, t, p.T)
            if "fg" in per_level:
                per_level["fg"].append((fg * distance).sum() / len(t))
            if "bg" in per_level:
                per_level["bg"].append((background(fg) * distance).sum() / len(t))
            if "att" in per_level:
                per_level["att"].append(attention_distance(s, t, p.T))
            if "rel" in per_level:
                per_level["rel"].append(relation_distance(self.gc_s[place](s), self.gc_t[place](t)))
        terms = {term: Term(torch.stack(per_level[term]).sum(), weight) for term, weight in self.weights.items()}
        seen = {"fg_mask": masks, "bg_mask": [background(fg) for fg in masks]}
        return terms, {name: torch.stack([m.sum() / len(m) for m in of]).mean() for name, of in seen.items()}

    def visualize(self, view: View) -> list[Visualization]:
        """Show M_fg and the attention A_s of the teacher on every level."""
        maps = [t for _, t in self.phi.raw(view.student, view.teacher)]
        drawn = []
        for stride, t, fg in zip(self.phi.strides, maps, self._foregrounds(view.batch, maps), strict=True):
            drawn.append(Visualization(f"foreground, stride {stride}", heat=fg))
            drawn.append(Visualization(f"attention, stride {stride}", heat=spatial_attention(t, self.params.T)))
        return drawn

    def _foregrounds(self, batch: Batch, maps: Sequence[Tensor]) -> list[Tensor]:
        """M_fg of each level."""
        boxes, image = batch.all_boxes()
        padded = tuple(batch.images.shape[-2:])
        frames = batch.sizes if self.params.frame == "authors" else [padded] * len(batch.sizes)
        return [foreground(boxes, image, torch.tensor(frames).to(boxes), *one.shape[-2:]) for one in maps]


# ---------------------------------------------------------------------------------------------------------------------
# Masks


def foreground(boxes: Tensor, image: Tensor, frames: Tensor, height: int, width: int) -> Tensor:
    """M_fg (B, h, w).

    Args:
        boxes, image: (G, 4) xyxy px of the images (G,).
        frames: (B, 2) height and width in px by which boxes are divided.
    """
    frame_h, frame_w = frames[image].unbind(1)
    x0, y0, x1, y1 = boxes.unbind(1)
    low_x, low_y = (x0 / frame_w * width).floor(), (y0 / frame_h * height).floor()
    end_x, end_y = (x1 / frame_w * width).ceil() + 1, (y1 / frame_h * height).ceil() + 1
    # Before the ranges are cut to the map: cells outside count in the area, as released.
    area = (end_x - low_x) * (end_y - low_y)
    cells = cell_masks(torch.stack([low_x, low_y, end_x, end_y], 1).long(), height, width)
    return max_per_image(cells / area[:, None, None], image, len(frames))


def background(fg: Tensor) -> Tensor:
    """M_bg (B, h, w) of M_fg; zeros where an image has no background."""
    cells = (fg == 0).to(fg.dtype)
    return cells / cells.sum((1, 2), keepdim=True).clamp(min=1)


def spatial_attention(maps: Tensor, T: float) -> Tensor:
    """A_s: (B, M, h, w) -> (B, h, w), every sample sums to h w."""
    strength = maps.abs().mean(1)
    return strength.numel() / len(strength) * (strength / T).flatten(1).softmax(1).view_as(strength)


def channel_attention(maps: Tensor, T: float) -> Tensor:
    """A_c: (B, M, h, w) -> (B, M), every sample sums to M."""
    return maps.shape[1] * (maps.abs().mean((2, 3)) / T).softmax(1)


# ---------------------------------------------------------------------------------------------------------------------
# Adaptation


class GlobalContext(nn.Module):
    """GC: softmax-pooled context of the map through a bottleneck, added to every cell; the identity at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.reduce, self.expand = nn.Linear(channels, inner), nn.Linear(inner, channels)
        self.norm = nn.LayerNorm(inner)
        # Zero in the last layer makes the block the identity at first, as released.
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Add the pooled context to every cell.

        Args:
            x: (B, M, h, w).

        Returns:
            (B, M, h, w): GC(x).
        """
        weight = self.mask(x).flatten(1).softmax(1)
        context = torch.einsum("bmn,bn->bm", x.flatten(2), weight)
        return x + self.expand(self.norm(self.reduce(context)).relu())[:, :, None, None]


# ---------------------------------------------------------------------------------------------------------------------
# Losses


def attended(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """A_s A_c (phi(S) - T)^2, summed over channels: (B, M, h, w) -> (B, h, w)."""
    # The teacher's attention alone: the student's enters L_att only.
    over_channels = torch.einsum("bmhw,bm->bhw", (student - teacher).square(), channel_attention(teacher, T))
    return spatial_attention(teacher, T) * over_channels


def attention_distance(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """Return L_att, a scalar, of (B, M, h, w) and (B, M, h, w)."""
    per_kind = [(kind(student, T) - kind(teacher, T)).abs().sum() for kind in (spatial_attention, channel_attention)]
    return torch.stack(per_kind).sum() / len(teacher)


def relation_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return L_rel, a scalar, of maps (B, M, h, w) that have been through their context blocks."""
    return (student - teacher).square().sum() / len(teacher)
