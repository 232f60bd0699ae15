"""Family of a detector, told by what it does: the functions that compute the targets and losses of its head.

A name or a parent class says little: the heads of RTMDet, TOOD and VFNet are subclasses of ATSSHead, and assign their
targets in their own way; RetinaSepBNHead is no subclass of RetinaHead, and assigns as RetinaNet does. A head belongs to
a family if its deciding methods are the very functions of that family's head in mmdet, because the files of
`recording` read what these functions receive and return.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from torch import nn


class Reference(NamedTuple):
    """The head of mmdet that defines a family.

    Attributes:
        head: its class.
        methods: which decide what it does.
    """

    head: str
    methods: tuple[str, ...]


_DENSE = ("loss", "loss_by_feat", "get_targets", "_get_targets_single")
_ROI = ("loss", "bbox_loss")
_QUERIES = ("forward", "loss", "loss_by_feat", "loss_by_feat_single", "get_targets", "_get_targets_single")

DENSE_FAMILIES = {
    "ssd": Reference("SSDHead", _DENSE),
    "retinanet": Reference("RetinaHead", _DENSE),
    "atss": Reference("ATSSHead", _DENSE),
    "gfl": Reference("GFLHead", _DENSE),
    "fcos": Reference("FCOSHead", _DENSE),
    "rtmdet": Reference("RTMDetHead", _DENSE),
    "yolox": Reference("YOLOXHead", ("loss", "loss_by_feat", "_get_targets_single")),
    "yolof": Reference("YOLOFHead", _DENSE),
    "paa": Reference("PAAHead", (*_DENSE, "get_pos_loss", "paa_reassign")),
    "tood": Reference("TOODHead", _DENSE),
    "vfnet": Reference("VFNetHead", (*_DENSE, "get_atss_targets")),
    "centernet-update": Reference("CenterNetUpdateHead", _DENSE),
}
IDLE_WITHOUT_POSITIVES = ("yolof",)
"""Families whose box branch is in no loss of a batch without positives: tried on all of them."""
# Heads whose positives are no one set of samples with a logit, a box and a ground truth each.
_UNDEFINED = {
    "DDODHead": "assigns its classes and its boxes to different anchors",
    "CenterNetHead": "trains a size in one cell of each object, and its classes on a heat map",
    "CornerHead": "predicts corners, which belong to no box before they are paired",
    "CentripetalHead": "predicts corners, which belong to no box before they are paired",
}
QUERY_FAMILIES = {
    "detr": Reference("DETRHead", _QUERIES),
    "conditional-detr": Reference("ConditionalDETRHead", _QUERIES),
    "dab-detr": Reference("DABDETRHead", _QUERIES),
    "deformable-detr": Reference("DeformableDETRHead", _QUERIES),
    "dino": Reference("DINOHead", _QUERIES),
    "ddq-detr": Reference("DDQDETRHead", (*_QUERIES, "loss_for_distinct_queries", "_loss_for_distinct_queries_single")),
}
ROI_FAMILIES = {
    "faster-rcnn": Reference("StandardRoIHead", _ROI),
    "cascade-rcnn": Reference("CascadeRoIHead", _ROI),
    "sparse-rcnn": Reference("SparseRoIHead", (*_ROI, "_bbox_forward")),
}
RPN = Reference("RPNHead", _DENSE)
BOX_HEAD = Reference("BBoxHead", ("loss", "loss_and_target", "get_targets", "_get_targets_single"))
OWN_BOX_HEADS = {"sparse-rcnn": Reference("DIIHead", ("loss_and_target", "get_targets", "_get_targets_single"))}
_ALL = DENSE_FAMILIES | QUERY_FAMILIES | ROI_FAMILIES
SUPPORTED = ", ".join(f"{name} ({reference.head})" for name, reference in _ALL.items())


def own_methods(kind: type, reference: Reference) -> list[str]:
    """Return the deciding methods that a class does not share with a reference.

    Args:
        kind: class of a head.
        reference: a family's head.
    """
    import mmdet.models

    head = getattr(mmdet.models, reference.head)
    return [name for name in reference.methods if getattr(kind, name, None) is not getattr(head, name)]


def dense_family(kind: type) -> str | None:
    """Return the family of a single-stage head's class, or None."""
    return next((name for name, reference in DENSE_FAMILIES.items() if not own_methods(kind, reference)), None)


def query_family(kind: type) -> str | None:
    """Return the family of a DETR-like head's class, or None."""
    return next((name for name, reference in QUERY_FAMILIES.items() if not own_methods(kind, reference)), None)


def roi_family(kind: type) -> str | None:
    """Return the family of a second stage's class, or None."""
    return next((name for name, reference in ROI_FAMILIES.items() if not own_methods(kind, reference)), None)


def detector_family(detector: Any) -> str | None:
    """Return the family of an mmdet detector, a key of one of the tables; None where `difference` says why."""
    if difference(detector):
        return None
    return _head_family(detector)


def detector_title(detector: Any) -> str:
    """Return what a detector of no supported family is called: `DDOD`, `FasterRCNN with DynamicRoIHead`."""
    kind, head = type(detector).__name__, type(_final_head(detector)).__name__
    stem = re.sub("(RoI|Bbox)?Head$", "", head)
    short, long = sorted((stem.lower(), kind.lower()), key=len)
    if _final_head(detector) is None or long.startswith(short):
        return kind
    return f"{kind} with {head}"


def is_two_stage(detector: Any) -> bool:
    """Return whether a detector refines proposals of an RPN."""
    return all(getattr(detector, name, None) is not None for name in ("rpn_head", "roi_head"))


def difference(detector: Any) -> str:
    """Return what a detector does differently from every supported family; empty where it belongs to one."""
    head = _final_head(detector)
    if head is None:
        return "it has no head that predicts boxes of classes"
    two_stage = getattr(detector, "roi_head", None) is not None
    family = _head_family(detector)
    if family is None:
        return _head_difference(type(head), ROI_FAMILIES if two_stage else DENSE_FAMILIES | QUERY_FAMILIES)
    if own_loss(detector):
        return own_loss(detector)
    if getattr(head, "use_atss", True) is False:  # of VFNetHead
        return "it assigns its points as FCOS does (use_atss: false)"
    if two_stage and not is_two_stage(detector):
        return "it has no RPN"
    boxes = head.bbox_head if two_stage else []
    for box_head in boxes if isinstance(boxes, (nn.ModuleList, list)) else [boxes]:
        if changed := own_methods(type(box_head), OWN_BOX_HEADS.get(family, BOX_HEAD)):
            return f"its box head {type(box_head).__name__} has its own {', '.join(changed)}"
    return ""


def own_loss(detector: Any) -> str:
    """Return what to say of a detector that does not pass each image once to its head; empty for all others.

    TridentNet repeats each image; PanopticFPN and detectors with a teacher of their own have further losses.
    """
    from mmdet.models import DetectionTransformer, SingleStageDetector, TwoStageDetector

    if type(detector).loss in (SingleStageDetector.loss, TwoStageDetector.loss, DetectionTransformer.loss):
        return ""
    return f"{type(detector).__name__} computes its losses in its own way"


def unsupported(detector: Any, what: str) -> str:
    """Return the message for a detector of no supported family.

    Args:
        detector: an mmdet detector.
        what: cannot be done with it.
    """
    return (
        f"{what} {detector_title(detector)}: {difference(detector)}; supported families: {SUPPORTED}, and heads that "
        "keep the losses and targets of one"
    )


def _final_head(detector: Any) -> Any:
    head = getattr(detector, "roi_head", None)
    return head if head is not None else getattr(detector, "bbox_head", None)


def _head_family(detector: Any) -> str | None:
    roi_head = getattr(detector, "roi_head", None)
    if roi_head is not None:
        return roi_family(type(roi_head))
    kind = type(detector.bbox_head)
    return dense_family(kind) or query_family(kind)


def _head_difference(kind: type, families: dict[str, Reference]) -> str:
    if kind.__name__ in _UNDEFINED:
        return f"its head {kind.__name__} {_UNDEFINED[kind.__name__]}"
    by_head = {reference.head: reference for reference in families.values()}
    near = next((by_head[parent.__name__] for parent in kind.__mro__ if parent.__name__ in by_head), None)
    changed = f" has its own {', '.join(own_methods(kind, near))}" if near else " is of another kind"
    return f"its head {kind.__name__}{changed}"
