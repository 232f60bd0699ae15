"""What differs between mmdet's head families: where a head keeps its targets, and how it writes down a box.

Everything here reads; no class of mmdet is changed. Checked against mmdet 3.3 (`onedl-mmdetection` 3.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from c2d.core.errors import InputError

Kind = Literal["softmax", "sigmoid"]
Decode = Callable[[Any, Tensor, Tensor, Tensor], Tensor]


def _decode_deltas(head: Any, raw: Tensor, priors: Tensor, _stride: Tensor) -> Tensor:
    return plain(head.bbox_coder.decode(priors, raw))


def _decode_distribution(head: Any, raw: Tensor, priors: Tensor, stride: Tensor) -> Tensor:
    distances = head.integral(raw) * stride[:, None]
    return plain(head.bbox_coder.decode(head.anchor_center(priors), distances))


def _decode_distances(head: Any, raw: Tensor, priors: Tensor, stride: Tensor) -> Tensor:
    # FCOS regresses distance / stride while it trains with norm_on_bbox, and pixels in every other case.
    in_strides = head.norm_on_bbox and head.training
    return plain(head.bbox_coder.decode(priors, raw * stride[:, None] if in_strides else raw))


def decode_dense(head: Any, raw: Tensor, priors: Tensor, stride: Tensor) -> Tensor:
    """Boxes (N, 4) of raw numbers (N, D) in the convention of `outputs.DenseOutputs`, whether the head trains or not.

    Args:
        priors: (N, 4) anchors, or (N, 2) points.
        stride: (N,) px per cell.
    """
    if getattr(head, "norm_on_bbox", None) is not None:
        return plain(head.bbox_coder.decode(priors, raw * stride[:, None] if head.norm_on_bbox else raw))
    family: DenseFamily | None = _family(head, DENSE, ("loss_by_feat",))
    decode = _decode_deltas if family is None else family.decode  # an RPN is of no family; it writes deltas
    return decode(head, raw, priors, stride)


@dataclass(frozen=True)
class DenseFamily:
    """A single-stage head: `loss_by_feat` sees the maps, `_get_targets_single` the assignment of each image.

    Attributes:
        labels, sampling: places of the per-prior labels and of the `SamplingResult` in what `_get_targets_single`
            returns; `sampling` is None where a head has no assigner (FCOS).
        decode: (head, raw (K, D) fp32, priors (K, 4 or 2), stride (K,)) -> (K, 4) xyxy pixels, without clipping.
    """

    labels: int
    sampling: int | None
    decode: Decode


@dataclass(frozen=True)
class RoIFamily:
    """A second-stage head: `bbox_loss` sees the sampled RoIs and returns the predictions for them."""

    cascaded: bool


DENSE = {
    "SSDHead": DenseFamily(0, 6, _decode_deltas),
    "RetinaHead": DenseFamily(0, 6, _decode_deltas),
    "ATSSHead": DenseFamily(1, 7, _decode_deltas),
    "GFLHead": DenseFamily(1, 7, _decode_distribution),
    "FCOSHead": DenseFamily(0, None, _decode_distances),
}
ROI = {"StandardRoIHead": RoIFamily(cascaded=False), "CascadeRoIHead": RoIFamily(cascaded=True)}

# A subclass belongs to its parent's family as long as it keeps these methods: they are what the recording relies on.
_DENSE_METHODS = ("loss_by_feat", "get_targets", "_get_targets_single", "loss")
_ROI_METHODS = ("bbox_loss", "loss")


def head_of(student: Any) -> tuple[Any, DenseFamily | RoIFamily]:
    """The head that classifies and regresses the final boxes of an mmdet detector, and its family.

    Raises:
        InputError: the head belongs to no supported family; the message names it and those that are.
    """
    if getattr(student, "roi_head", None) is not None:
        head = student.roi_head
        roi = _family(head, ROI, _ROI_METHODS)
        if roi is not None:
            return head, roi
    else:
        head = getattr(student, "bbox_head", None)
        dense = _family(head, DENSE, _DENSE_METHODS)
        if dense is not None:
            return head, dense
    known = ", ".join([*DENSE, *ROI])
    raise InputError(
        f"no positives can be read from head '{type(head).__name__}' of student '{type(student).__name__}'; "
        f"supported heads: {known}, and subclasses that keep their loss and targets; choose such a student, "
        "or a method that needs no positives"
    )


def dense_head(detector: Any) -> Any:
    """The head that speaks about every cell: a single-stage detector's only head, or a two-stage detector's RPN.

    Raises:
        InputError: none of a family whose outputs can be read.
    """
    head = getattr(detector, "rpn_head", None)
    if head is not None:
        if any(kind.__name__ == "RPNHead" and kind.__module__.startswith("mmdet.") for kind in type(head).__mro__):
            return head
    else:
        head = getattr(detector, "bbox_head", None)
        if _family(head, DENSE, ("loss_by_feat",)) is not None:
            return head
    raise InputError(
        f"the dense outputs of head '{type(head).__name__}' of '{type(detector).__name__}' cannot be read; supported: "
        f"{', '.join([*DENSE, 'RPNHead'])}, and subclasses that keep loss_by_feat"
    )


def roi_head(detector: Any) -> tuple[Any, bool]:
    """(second stage, whether it is a cascade).

    Raises:
        InputError: a detector without one, or of an unknown family.
    """
    head = getattr(detector, "roi_head", None)
    family = _family(head, ROI, _ROI_METHODS) if head is not None else None
    if family is None:
        raise InputError(
            f"'{type(detector).__name__}' has no second stage that can be read; supported: {', '.join(ROI)}: choose a "
            "two-stage detector, or a method that needs none"
        )
    return head, family.cascaded


def strides(head: Any) -> tuple[int, ...]:
    """Pixels a cell of each level of a dense head."""
    return tuple(int(s[0] if isinstance(s, Sequence) else s) for s in head.prior_generator.strides)


def dense_kind(head: Any) -> Kind:
    """How a dense head's logits are to be read: C sigmoid channels, or C + 1 softmax channels, background last."""
    return "sigmoid" if head.use_sigmoid_cls else "softmax"


def entries(maps: Tensor, image: Tensor, index: Tensor, width: int) -> Tensor:
    """Entries (k, width) of maps (B, A * width, H, W); index counts as in permute(0, 2, 3, 1).reshape(B, -1, width).

    Reads the k entries in place instead of copying the whole map first, which is large on the finest levels.
    """
    n, channels, height, wide = maps.shape
    per_cell = channels // width
    cell, prior = index // per_cell, index % per_cell
    return maps.view(n, per_cell, width, height, wide)[image, prior, :, cell // wide, cell % wide]


def roi_boxes(bbox_head: Any, raw: Tensor, rois: Tensor, labels: Tensor) -> Tensor:
    """Boxes (K, 4) that a RoI head predicts for its positives.

    Class-specific regression: the four deltas of the ground-truth class. RoIs count as constants.

    Args:
        raw: (K, 4) or (K, 4 C) deltas.
        rois: (K, 4) xyxy pixels.
        labels: (K,) class of the assigned ground truth.
    """
    if not bbox_head.reg_class_agnostic:
        raw = raw.unflatten(1, (bbox_head.num_classes, -1))[torch.arange(len(raw), device=raw.device), labels]
    return plain(bbox_head.bbox_coder.decode(rois.detach(), raw.float()))


def check_box_head(bbox_head: Any) -> None:
    """A RoI head's box head has to give C + 1 logits and deltas in one tensor.

    Raises:
        InputError: it does not.
    """
    plain = getattr(bbox_head, "with_cls", False) and getattr(bbox_head, "with_reg", False)
    if not plain or bbox_head.custom_cls_channels:
        raise InputError(
            f"no positives can be read from box head '{type(bbox_head).__name__}'; it has to be a BBoxHead with class "
            "logits (C + 1, background last) and box deltas, such as Shared2FCBBoxHead"
        )


def _family(head: Any, families: dict[str, Any], methods: tuple[str, ...]) -> Any:
    for parent in type(head).__mro__:
        if parent.__name__ in families and parent.__module__.startswith("mmdet."):
            kept = all(getattr(type(head), m, None) is getattr(parent, m, None) for m in methods)
            return families[parent.__name__] if kept else None
    return None


def plain(boxes: Any) -> Tensor:
    """The tensor of mmdet's `HorizontalBoxes`, or of boxes that are one."""
    tensor: Tensor = getattr(boxes, "tensor", boxes)
    return tensor
