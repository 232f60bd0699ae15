"""Differences between mmdet's head families: where a head keeps its targets, and how it encodes a box.

Nothing here changes a class of mmdet. Checked against mmdet 3.3 (`onedl-mmdetection` 3.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors import families

LogitKind = Literal["softmax", "sigmoid"]
"""Activation of classification logits: C sigmoid channels, or C + 1 softmax channels, background last."""
Decode = Callable[[Any, Tensor, Tensor, Tensor], Tensor]


def _decode_deltas(head: Any, raw: Tensor, priors: Tensor, _stride: Tensor) -> Tensor:
    return box_tensor(head.bbox_coder.decode(priors, raw))


def _decode_distribution(head: Any, raw: Tensor, priors: Tensor, stride: Tensor) -> Tensor:
    # GFL predicts a distribution over the distance of each edge in strides; `integral` is its expectation.
    distances = head.integral(raw) * stride[:, None]
    return box_tensor(head.bbox_coder.decode(head.anchor_center(priors), distances))


def _decode_distances(head: Any, raw: Tensor, priors: Tensor, stride: Tensor) -> Tensor:
    # FCOS regresses distance / stride while it trains with norm_on_bbox, and pixels in every other case.
    in_strides = head.norm_on_bbox and head.training
    return box_tensor(head.bbox_coder.decode(priors, raw * stride[:, None] if in_strides else raw))


def decode_dense(head: Any, raw: Tensor, priors: Tensor, stride: Tensor) -> Tensor:
    """Decode raw deltas in the convention of `outputs.DenseOutputs`, whether the head trains or not.

    Args:
        head: an mmdet dense head.
        raw: (N, D) fp32.
        priors: (N, 4) anchors, or (N, 2) points, px.
        stride: (N,) px per cell.

    Returns:
        (N, 4) xyxy, px, not clipped.
    """
    # FCOS: `DenseOutputs` holds strides with norm_on_bbox in every mode of the head, so the mode does not count here.
    if getattr(head, "norm_on_bbox", None) is not None:
        return box_tensor(head.bbox_coder.decode(priors, raw * stride[:, None] if head.norm_on_bbox else raw))
    family = families.dense_family(type(head))
    decode = (
        _decode_deltas if family is None else DENSE[family].decode
    )  # an RPN is of no family; its outputs are deltas
    return decode(head, raw, priors, stride)


@dataclass(frozen=True)
class DenseFamily:
    """A single-stage head: `loss_by_feat` sees the maps, `_get_targets_single` the assignment of each image.

    Attributes:
        labels: index of the per-prior labels in the result of `_get_targets_single`.
        sampling: index of the `SamplingResult` in it; None where a head has no assigner (FCOS).
        decode: (head, raw (K, D) fp32, priors (K, 4) or (K, 2), stride (K,)) -> (K, 4) xyxy, px, not clipped.
        classifier: attribute with the convolution of the class logits, or with a list of one stack of layers per level.
    """

    labels: int
    sampling: int | None
    decode: Decode
    classifier: str


@dataclass(frozen=True)
class RoIFamily:
    """A second-stage head: `bbox_loss` sees the sampled RoIs and returns the predictions for them.

    Attributes:
        cascaded: whether it has several stages, with a box head each.
        matched: whether the RoIs are learned and matched one to one with the ground truth (Sparse R-CNN), so that
            `bbox_loss` returns decoded boxes.
    """

    cascaded: bool
    matched: bool = False


@dataclass(frozen=True)
class QueryFamily:
    """A DETR-like head: `_get_targets_single` sees the predictions of one decoder layer for one image.

    Attributes:
        shared: whether every decoder layer is trained with the same queries.
    """

    shared: bool = True


DENSE = {
    "ssd": DenseFamily(0, 6, _decode_deltas, "cls_convs"),
    "retinanet": DenseFamily(0, 6, _decode_deltas, "retina_cls"),
    "atss": DenseFamily(1, 7, _decode_deltas, "atss_cls"),
    "gfl": DenseFamily(1, 7, _decode_distribution, "gfl_cls"),
    "fcos": DenseFamily(0, None, _decode_distances, "conv_cls"),
}
ROI = {
    "faster-rcnn": RoIFamily(cascaded=False),
    "cascade-rcnn": RoIFamily(cascaded=True),
    "sparse-rcnn": RoIFamily(cascaded=True, matched=True),
}
QUERY = {
    "detr": QueryFamily(),
    "conditional-detr": QueryFamily(),
    "dab-detr": QueryFamily(),
    "deformable-detr": QueryFamily(),
    "dino": QueryFamily(),
    "ddq-detr": QueryFamily(shared=False),
}
WITH_POSITIVES = (*DENSE, *ROI, *QUERY)
"""Families whose positives can be read."""


def final_head(student: Any) -> tuple[Any, DenseFamily | QueryFamily | RoIFamily]:
    """Return the head that predicts the final boxes of an mmdet detector, and its family.

    Raises:
        InputError: the detector belongs to no supported family.
    """
    family = families.detector_family(student)
    if family is None:
        raise InputError(
            f"{families.unsupported(student, 'no positives can be read from')}; choose such a student, or a method "
            "that needs no positives"
        )
    return (student.roi_head, ROI[family]) if family in ROI else (student.bbox_head, (DENSE | QUERY)[family])


def count_classes(detector: Any) -> int | None:
    """Return the foreground classes of the head that predicts the final boxes; None where it has no such number.

    Raises:
        InputError: its stages have different numbers.
    """
    head = getattr(detector, "bbox_head", None) or getattr(getattr(detector, "roi_head", None), "bbox_head", None)
    stages: list[Any] = list(head) if isinstance(head, nn.ModuleList) else [head]
    counts = [stage.num_classes for stage in stages if isinstance(getattr(stage, "num_classes", None), int)]
    if len(set(counts)) > 1:
        raise InputError(
            f"the stages of '{type(detector).__name__}' have different numbers of classes, {counts}; give all one "
            "num_classes"
        )
    return counts[0] if counts else None


def dense_head(detector: Any) -> Any:
    """Return the head that predicts in every cell: the head of a single-stage detector, the RPN of a two-stage one.

    Raises:
        InputError: its family is not supported.
    """
    head = getattr(detector, "rpn_head", None)
    if head is not None:
        own = families.own_methods(type(head), families.RPN)
        if not own and not families.own_loss(detector):
            return head
        why = f"its RPN {type(head).__name__} has its own {', '.join(own)}" if own else families.own_loss(detector)
        raise InputError(
            f"no dense outputs can be read from {families.detector_title(detector)}: {why}; choose a detector with "
            "mmdet's RPNHead"
        )
    family = families.detector_family(detector)
    if family is None:
        raise InputError(families.unsupported(detector, "no dense outputs can be read from"))
    if family in QUERY:
        raise InputError(
            f"no dense outputs can be read from {families.detector_title(detector)}: its head predicts for object "
            "queries, not in the cells of maps; choose a detector with a dense head, or a method on feature maps"
        )
    return detector.bbox_head


def query_head(detector: Any) -> Any:
    """Return the head of a DETR-like detector whose decoder layers share their queries.

    Raises:
        InputError: the detector is none, or its layers have queries of their own.
    """
    family = families.detector_family(detector)
    if family not in QUERY:
        why = families.difference(detector) or "its head has no decoder with object queries"
        shared = ", ".join(name for name, one in QUERY.items() if one.shared)
        raise InputError(
            f"no queries can be read from {families.detector_title(detector)}: {why}; supported families: {shared}"
        )
    if not QUERY[family].shared:
        raise InputError(
            f"no queries can be read from {families.detector_title(detector)}: each of its decoder layers drops other "
            "queries as duplicates; choose a DINO or Deformable DETR"
        )
    return detector.bbox_head


def roi_head(detector: Any) -> tuple[Any, bool]:
    """Return the second stage of a detector, and whether it is a cascade.

    Raises:
        InputError: the detector has none, or one of an unsupported family.
    """
    if getattr(detector, "roi_head", None) is None:
        raise InputError(
            f"{type(detector).__name__} has no second stage; supported: "
            f"{', '.join(name for name, one in ROI.items() if not one.matched)}: choose a two-stage detector, or a "
            "method that needs none"
        )
    family = families.detector_family(detector)
    if family is None:
        raise InputError(families.unsupported(detector, "no second stage can be read from"))
    if ROI[family].matched:
        raise InputError(
            f"no second stage can be read from {families.detector_title(detector)}: its stages need the features of "
            "its own learned proposals, so it cannot predict on given RoIs; choose a Faster or Cascade R-CNN"
        )
    return detector.roi_head, ROI[family].cascaded


def strides(head: Any) -> tuple[int, ...]:
    """Return the px per cell of each level of a dense head."""
    return tuple(int(s[0] if isinstance(s, Sequence) else s) for s in head.prior_generator.strides)


def logit_kind(head: Any) -> LogitKind:
    """Return the activation of a dense head's logits."""
    return "sigmoid" if head.use_sigmoid_cls else "softmax"


def loss_kind(head: Any) -> LogitKind:
    """Return the activation of the logits of a DETR-like head, or of a box head."""
    return "sigmoid" if head.loss_cls.use_sigmoid else "softmax"


def gather_entries(maps: Tensor, image: Tensor, index: Tensor, width: int) -> Tensor:
    """Gather the entries of single priors from a map, in place: copies of the finest levels are large.

    Args:
        maps: (B, A * width, H, W).
        image: (K,) long.
        index: (K,) long, flat as in `maps.permute(0, 2, 3, 1).reshape(B, -1, width)`.
        width: channels of one prior.

    Returns:
        (K, width).
    """
    n, channels, rows, columns = maps.shape
    per_cell = channels // width
    cell, prior = index // per_cell, index % per_cell
    return maps.view(n, per_cell, width, rows, columns)[image, prior, :, cell // columns, cell % columns]


def roi_boxes(bbox_head: Any, raw: Tensor, rois: Tensor, labels: Tensor) -> Tensor:
    """Decode the boxes that a RoI head predicts for its positives.

    Class-specific regression takes the four deltas of the ground-truth class. RoIs count as constants.

    Args:
        bbox_head: an mmdet `BBoxHead`.
        raw: (K, 4) or (K, 4 C) deltas.
        rois: (K, 4) xyxy, px.
        labels: (K,) long, class of the assigned ground truth.

    Returns:
        (K, 4) fp32 xyxy, px.
    """
    if not bbox_head.reg_class_agnostic:
        # Deltas exist for the C foreground classes only; every positive has one of these.
        raw = raw.unflatten(1, (bbox_head.num_classes, -1))[torch.arange(len(raw), device=raw.device), labels]
    return box_tensor(bbox_head.bbox_coder.decode(rois.detach(), raw.float()))


def check_box_head(bbox_head: Any) -> None:
    """Check that a RoI head's box head predicts C + 1 logits, and deltas in one tensor.

    Raises:
        InputError: it does not.
    """
    complete = getattr(bbox_head, "with_cls", False) and getattr(bbox_head, "with_reg", False)
    if not complete or families.own_methods(type(bbox_head), families.BOX_HEAD) or bbox_head.custom_cls_channels:
        raise InputError(
            f"no positives can be read from box head '{type(bbox_head).__name__}'; it has to be a BBoxHead with class "
            "logits (C + 1, background last) and box deltas, such as Shared2FCBBoxHead"
        )


def box_tensor(boxes: Any) -> Tensor:
    """Return the tensor (N, 4) of mmdet's `HorizontalBoxes`; a tensor is returned as it is."""
    tensor: Tensor = getattr(boxes, "tensor", boxes)
    return tensor
