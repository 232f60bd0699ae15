"""Counterparts of mmdet's functions for tracing: the same results, for every image, from one recording of operators.

`tracing.py` puts them in place of mmdet's own, which choose between Python branches by what was detected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torchvision  # here: imported while a trace runs, it would record what it asks of its library
from torch import Tensor

MIN_SIZE, MIN_SCORE = "c2d_min_size", "c2d_min_score"
"""Keys of an NMS config inside the trace: the smallest side of a box in px, exclusive, and its smallest score."""
BELOW = -1.0
"""Score of a candidate that is none; every score is at least 0."""


def clip(boxes: Tensor, shape: Any) -> Tensor:
    """Clip boxes to an image.

    Args:
        boxes: (..., 4 n) xyxy, px.
        shape: (height, width), numbers or 0-dim tensors, px.
    """
    height, width = (torch.as_tensor(side).to(boxes) for side in shape[:2])
    corners = boxes.reshape(-1, 2)
    inside = torch.minimum(corners.clamp(min=0), torch.stack([width, height]))
    return inside.reshape(boxes.shape)


def filter_scores_and_topk(
    scores: Tensor, score_thr: float, topk: int, results: Any = None
) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Return the `topk` best pairs of box and class; those at or below the threshold have the score `BELOW`.

    Args:
        scores: (N, K) of K classes.
        score_thr: exclusive.
        topk: pairs to return, however many there are; all where it is not positive.
        results: (N, ...) tensors in a mapping or a list, or one tensor.

    Returns:
        scores (topk,), labels (topk,), indices of the boxes (topk,), and `results` at these indices.
    """
    flat = scores.reshape(-1)
    flat = torch.where(flat > score_thr, flat, torch.full_like(flat, BELOW))
    if topk > 0:
        # A small image has fewer pairs than `topk`.
        flat, at = torch.cat([flat, flat.new_full((topk,), BELOW)]).topk(topk)
        at = torch.where(flat > BELOW, at, torch.zeros_like(at))
    else:
        at = torch.arange(flat.shape[0], device=flat.device)
    boxes, labels = torch.div(at, scores.shape[1], rounding_mode="floor"), at % scores.shape[1]
    if isinstance(results, Mapping):
        results = {key: value[boxes] for key, value in results.items()}
    elif isinstance(results, list):
        results = [value[boxes] for value in results]
    elif results is not None:
        results = results[boxes]
    return flat, labels, boxes, results


def batched_nms(
    boxes: Tensor, scores: Tensor, idxs: Tensor, nms_cfg: Any, class_agnostic: bool = False
) -> tuple[Tensor, Tensor]:
    """Suppress boxes of the same class that overlap.

    Args:
        boxes: (N, 4) xyxy, px.
        scores: (N,); candidates with `BELOW` are none.
        idxs: (N,) class of each box.
        nms_cfg: mmcv's NMS config, with `MIN_SIZE` and `MIN_SCORE` of `tracing.prepare_thresholds`.
        class_agnostic: as in mmcv.

    Returns:
        boxes and scores (n, 5), best first; indices (n,) of them.
    """
    config = dict(nms_cfg)
    boxes = boxes.reshape(-1, 4)  # states the number of columns, which OpenVINO needs
    is_candidate = scores >= config.get(MIN_SCORE, 0.0)
    if (smallest := config.get(MIN_SIZE)) is not None:
        sides = boxes[:, 2:] - boxes[:, :2]
        is_candidate = is_candidate & (sides > smallest).all(1)
    candidates = is_candidate.nonzero().reshape(-1)
    kept_boxes, kept_scores = boxes[candidates], scores[candidates]
    shifted = kept_boxes
    if not config.get("class_agnostic", class_agnostic):
        # With a zero, because the largest of no box is undefined.
        largest = torch.cat([kept_boxes.reshape(-1), kept_boxes.new_zeros(1)]).max()
        shifted = kept_boxes + (idxs[candidates].to(boxes) * (largest + 1))[:, None]
    threshold = torch.tensor(config["iou_threshold"], dtype=torch.float32).item()
    keep = candidates[torchvision.ops.nms(shifted, kept_scores, threshold)]
    if (most := config.get("max_num", -1)) > 0:
        keep = keep[:most]
    return torch.cat([boxes[keep], scores[keep][:, None]], 1), keep


def multiclass_nms(
    multi_bboxes: Tensor, multi_scores: Tensor, score_thr: float, nms_cfg: Any, max_num: int = -1,
    score_factors: Tensor | None = None, return_inds: bool = False, box_dim: int = 4,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Suppress boxes of several classes.

    Args:
        multi_bboxes: (N, 4) or (N, 4 K) xyxy, px.
        multi_scores: (N, K + 1), the background last.
        score_thr: exclusive.
        nms_cfg: mmcv's NMS config.
        max_num: most boxes to return.
        score_factors, return_inds, box_dim: as in mmdet; only its defaults are possible.

    Returns:
        boxes and scores (n, 5), best first; labels (n,).

    Raises:
        NotImplementedError: an argument with another value than its default.
    """
    if score_factors is not None or return_inds or box_dim != 4:
        raise NotImplementedError("multiclass_nms with factors of scores, indices or rotated boxes")
    scores = multi_scores[:, :-1]
    pairs = (scores > score_thr).nonzero()
    at, labels = pairs[:, 0], pairs[:, 1]
    boxes = multi_bboxes[at]
    if multi_bboxes.shape[1] > 4:
        boxes = multi_bboxes.reshape(-1, 4)[at * scores.shape[1] + labels]
    found, keep = batched_nms(boxes, scores.reshape(-1)[at * scores.shape[1] + labels], labels, nms_cfg)
    if max_num > 0:
        found, keep = found[:max_num], keep[:max_num]
    return found, labels[keep]


def score_voting(
    self: Any, det_bboxes: Tensor, det_labels: Tensor, mlvl_bboxes: Tensor, mlvl_nms_scores: Tensor, score_thr: float
) -> tuple[Tensor, Tensor]:
    """Return the mean box of all candidates around each detection (Kim and Lee, "PAA", ECCV 2020, section 3.4).

    Args:
        self: mmdet's PAAHead.
        det_bboxes: (n, 5), boxes and scores after NMS.
        det_labels: (n,).
        mlvl_bboxes: (N, 4), all boxes before.
        mlvl_nms_scores: (N, K + 1), their scores.
        score_thr: exclusive.

    Returns:
        boxes and scores (n, 5); labels (n,).
    """
    from mmdet.structures.bbox import bbox_overlaps

    ious = bbox_overlaps(det_bboxes[:, :4], mlvl_bboxes)
    scores = mlvl_nms_scores[:, det_labels].T
    weights = torch.exp(-((1 - ious) ** 2) / 0.025) * scores * ((ious > 0.01) & (scores > score_thr))
    boxes = weights @ mlvl_bboxes / weights.sum(1, keepdim=True)
    return torch.cat([boxes, det_bboxes[:, 4:]], 1), det_labels


def predict_queries(self: Any, cls_score: Tensor, bbox_pred: Tensor, img_meta: Any, rescale: bool = True) -> Any:
    """Return the detections of queries, as mmdet's DETRHead does, clipped outside of slices.

    Args:
        self: mmdet's head.
        cls_score: (Q, K) or (Q, K + 1) logits.
        bbox_pred: (Q, 4) cxcywh as shares of the image.
        img_meta: with `img_shape`.
        rescale: unused; boxes stay in px of the input.
    """
    from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
    from mmengine.structures import InstanceData

    most = self.test_cfg.get("max_per_img", cls_score.shape[0])
    if self.loss_cls.use_sigmoid:
        scores, at = cls_score.sigmoid().reshape(-1).topk(most)
        labels, queries = at % self.num_classes, torch.div(at, self.num_classes, rounding_mode="floor")
    else:
        best, classes = cls_score.softmax(-1)[..., :-1].max(-1)
        scores, queries = best.topk(most)
        labels = classes[queries]
    height, width = (torch.as_tensor(side).to(bbox_pred) for side in img_meta["img_shape"][:2])
    boxes = bbox_cxcywh_to_xyxy(bbox_pred[queries]) * torch.stack([width, height, width, height])
    return InstanceData(bboxes=clip(boxes, (height, width)), scores=scores, labels=labels)


def project_inputs(
    q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the projections of an attention, each by its own part of the weights.

    torch computes those of equal inputs at once, and the tracer loses the number of dimensions there.

    Args:
        q, k, v: (..., E).
        w: (3 E, E).
        b: (3 E,), or None.

    Returns:
        Three tensors (..., E).
    """
    weights, biases = w.chunk(3), (None, None, None) if b is None else b.chunk(3)
    found = [torch.nn.functional.linear(*part) for part in zip((q, k, v), weights, biases, strict=True)]
    return found[0], found[1], found[2]


def deform_conv2d(
    input: Tensor, offset: Tensor, weight: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1, deform_groups: int = 1, bias: bool = False, im2col_step: int = 32,
) -> Tensor:  # fmt: skip
    """Return a deformable convolution by torchvision's operator, which ONNX has too.

    Args:
        input: (N, C, H, W).
        offset: (N, 2 * kH * kW, h, w), cells.
        weight: (O, C / groups, kH, kW).
        stride, padding, dilation, groups, deform_groups, bias, im2col_step: as in mmcv; the sizes of the tensors tell
            both numbers of groups.

    Returns:
        (N, O, h, w).
    """
    return torchvision.ops.deform_conv2d(input, offset, weight, None, stride, padding, dilation)
