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


Assignment = Literal["result", "points", "sampler", "sampled", "reassigned", "box-targets"]
"""Where the ground truth of a positive is found, see `recording.assignments`."""


def _decode_by_coder(head: Any, raw: Tensor, priors: Tensor, _stride: Tensor) -> Tensor:
    """Deltas of anchors, or distances in px."""
    return box_tensor(head.bbox_coder.decode(priors, raw))


def _decode_distribution(head: Any, raw: Tensor, priors: Tensor, stride: Tensor) -> Tensor:
    # GFL predicts a distribution over the distance of each edge in strides; `integral` is its expectation.
    distances = head.integral(raw) * stride[:, None]
    return box_tensor(head.bbox_coder.decode(head.anchor_center(priors), distances))


def _decode_distances(head: Any, raw: Tensor, priors: Tensor, stride: Tensor) -> Tensor:
    return box_tensor(head.bbox_coder.decode(priors, raw * stride[:, None] if counts_strides(head) else raw))


def _decode_offsets(_head: Any, raw: Tensor, priors: Tensor, stride: Tensor) -> Tensor:
    # YOLOX: offset of the centre in strides, logarithm of width and height in strides.
    centre, half = priors + raw[:, :2] * stride[:, None], raw[:, 2:].exp() * stride[:, None] / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _decode_corners(_head: Any, raw: Tensor, _priors: Tensor, stride: Tensor) -> Tensor:
    # TOOD decodes, and shifts, its boxes itself: corners in strides.
    return raw * stride[:, None]


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
    return dense_kind(head).decode(head, raw, priors, stride)


@dataclass(frozen=True)
class DenseFamily:
    """A single-stage head: `loss_by_feat` sees the maps, other methods see the assignment of each image.

    Attributes:
        decode: (head, raw (K, D) fp32, priors (K, 4) or (K, 2), stride (K,)) -> (K, 4) xyxy, px, not clipped.
        classifier: attribute with the convolution of the class logits, or with a list of one stack of layers per level.
        assignment: where the ground truth of each positive is found.
        labels: index of the per-prior labels in the result of `_get_targets_single`, for the assignment `result`.
        sampling: index of the `SamplingResult` in it.
        boxes: index of the maps of the final boxes among the arguments of `loss_by_feat`.
        probabilities: whether the head returns scores after their sigmoid; they are recorded as logits.
        objectness: index of the maps of objectness logits, for heads that multiply it into their scores.
        centre: cells from a point prior to the point that is assigned, in x and y.
    """

    decode: Decode
    classifier: str
    assignment: Assignment = "result"
    labels: int = 0
    sampling: int = 0
    boxes: int = 1
    probabilities: bool = False
    objectness: int | None = None
    centre: float = 0.0


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
    "ssd": DenseFamily(_decode_by_coder, "cls_convs", labels=0, sampling=6),
    "retinanet": DenseFamily(_decode_by_coder, "retina_cls", labels=0, sampling=6),
    "atss": DenseFamily(_decode_by_coder, "atss_cls", labels=1, sampling=7),
    "gfl": DenseFamily(_decode_distribution, "gfl_cls", labels=1, sampling=7),
    "fcos": DenseFamily(_decode_distances, "conv_cls", "points"),
    "rtmdet": DenseFamily(_decode_by_coder, "rtm_cls", labels=1, sampling=5),
    "yolox": DenseFamily(_decode_offsets, "multi_level_conv_cls", "sampled", objectness=2, centre=0.5),
    "yolof": DenseFamily(_decode_by_coder, "cls_score", labels=0, sampling=4),
    "paa": DenseFamily(_decode_by_coder, "atss_cls", "reassigned"),
    "tood": DenseFamily(_decode_corners, "tood_cls", "sampler", probabilities=True),
    "vfnet": DenseFamily(_decode_by_coder, "vfnet_cls", labels=1, sampling=7, boxes=2),
    "centernet-update": DenseFamily(_decode_distances, "conv_cls", "box-targets"),
}
RPN = DenseFamily(_decode_by_coder, "rpn_cls", labels=0, sampling=6)
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
WITH_DENSE = (*DENSE, "faster-rcnn", "cascade-rcnn")
"""Families whose dense head, or RPN, can be read."""


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


def dense_kind(head: Any) -> DenseFamily:
    """Return the family of an mmdet dense head; what is of none is read as an RPN, whose outputs are deltas."""
    family = families.dense_family(type(head))
    return DENSE[family] if family is not None else RPN


def counts_strides(head: Any) -> bool:
    """Return whether a head that regresses distances counts strides while it trains, and px in every other case."""
    always = families.dense_family(type(head)) == "centernet-update"
    return always or bool(getattr(head, "norm_on_bbox", False))


def regresses_px(head: Any) -> bool:
    """Return whether the box numbers of a dense head are distances in px, in the convention of `DenseOutputs`."""
    points = type(head.prior_generator).__name__ == "MlvlPointGenerator"
    return points and dense_kind(head).decode in (_decode_by_coder, _decode_distances) and not counts_strides(head)


def raw_boxes(head: Any, maps: Sequence[Tensor]) -> list[Tensor]:
    """Return box maps (B, A * D, h, w) per level in fp32; distances in strides where the head trains with these."""
    deltas = [level.float() for level in maps]
    # In eval mode mmdet's FCOS multiplies its distances by the stride itself.
    if counts_strides(head) and not head.training:
        deltas = [level / stride for level, stride in zip(deltas, strides(head), strict=True)]
    return deltas


def as_logits(family: DenseFamily, scores: Tensor) -> Tensor:
    """Return class logits from what a head returns: logits, or the probabilities of TOOD.

    Args:
        family: of the head.
        scores: any shape.
    """
    # The smallest step of fp32 below 1 bounds the logit by 16; TOOD's own loss clamps the logarithm at 100.
    return torch.logit(scores.float(), torch.finfo(torch.float32).eps) if family.probabilities else scores


def joint_logits(scores: Tensor, objectness: Tensor) -> Tensor:
    """Return the logit of sigmoid(class) * sigmoid(objectness), in fp32.

    The product is e^(c + o) / ((1 + e^c)(1 + e^o)), so its odds are e^(c + o) / (1 + e^c + e^o).

    Args:
        scores: (B, C, h, w) logits.
        objectness: (B, 1, h, w) logits.
    """
    c, o = scores.float(), objectness.float()
    return c + o - torch.logaddexp(torch.zeros_like(c), torch.logaddexp(c, o.expand_as(c)))


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
