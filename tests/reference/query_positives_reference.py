"""Positives of detectors with object queries, computed literally: loops over queries and objects, and SciPy's solver.

The network is the host's (backbone, transformer, prediction layers). Costs, matching, duplicates (DDQ) and boxes are
computed here, from the papers: DETR (2005.12872) section 3.1, Deformable DETR (2010.04159) appendix A.4, Sparse R-CNN
(2011.12450) section 3.3, DDQ (2303.12776) section 3.3. It imports nothing of the package it checks.

DINO and DDQ draw denoising queries at random: seed torch as before `student.loss`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

CLASS_WEIGHT, L1_WEIGHT, GIOU_WEIGHT = 2.0, 5.0, 2.0


@dataclass
class ReferenceLayer:
    """Positives of one decoder layer or stage: row k is a query of an image that is matched with a ground truth.

    Attributes:
        logits: K rows of class logits.
        boxes: K boxes (4,) xyxy in pixels of the input.
        image: K image indices.
        gt: K indices of ground truths inside their image.
    """

    logits: list[Tensor] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)
    image: list[int] = field(default_factory=list)
    gt: list[int] = field(default_factory=list)


def reference_queries(student: Any, inputs: Tensor, samples: list[Any]) -> list[ReferenceLayer]:
    """The positives of every decoder layer, or stage of Sparse R-CNN."""
    features = student.extract_feat(inputs)
    if hasattr(student, "roi_head"):
        return _sparse(student, features, samples)
    given = student.forward_transformer(features, samples)
    states = given["hidden_states"]
    scores, shares = student.bbox_head(*[given[key] for key in ("hidden_states", "references") if key in given])
    assert len(scores) == len(states)
    meta = given.get("dn_meta") or {}
    end = scores.shape[2] - meta.get("num_dense_queries", 0)
    first = end - student.num_queries  # denoising queries come first
    layers = [ReferenceLayer() for _ in scores]
    for i, sample in enumerate(samples):
        distinct = set(range(student.num_queries))
        for number, layer in enumerate(layers):
            logits = scores[number, i, first:end]
            boxes = [_pixels(row, sample.metainfo["img_shape"]) for row in shares[number, i, first:end]]
            _match(layer, i, logits, boxes, sorted(distinct), sample, "cxcywh")
            if "num_dense_queries" in meta:
                threshold = student.dqs_cfg["iou_threshold"]
                distinct = _distinct(logits, boxes, distinct, sample.metainfo["img_shape"], threshold)
    return layers


def _pixels(row: Tensor, size: tuple[int, int]) -> Tensor:
    """Centre and sides as shares of the image -> corners in pixels."""
    height, width = size
    x, y, w, h = row
    return torch.stack([(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height])


def _match(layer: ReferenceLayer, image: int, logits: Tensor, boxes: list[Tensor], candidates: list[int],
           sample: Any, form: str) -> None:  # fmt: skip
    """The cheapest one-to-one matching of the candidates with the objects of one image."""
    truths, labels = sample.gt_instances.bboxes.tolist(), sample.gt_instances.labels.tolist()
    if not truths:
        return
    size, sigmoid = sample.metainfo["img_shape"], logits.shape[1] == 3
    costs = []
    for q in candidates:
        box, row = boxes[q].tolist(), logits[q].tolist()
        costs.append([
            CLASS_WEIGHT * (_focal_cost(row[label]) if sigmoid else -math.exp(row[label]) / sum(map(math.exp, row)))
            + L1_WEIGHT * _l1(box, truth, size, form) - GIOU_WEIGHT * _giou(box, truth)
            for truth, label in zip(truths, labels, strict=True)
        ])  # fmt: skip
    rows, columns = linear_sum_assignment(costs)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        layer.logits.append(logits[candidates[row]])
        layer.boxes.append(boxes[candidates[row]])
        layer.image.append(image)
        layer.gt.append(column)


def _focal_cost(logit: float, alpha: float = 0.25, gamma: float = 2.0) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -alpha * (1 - p) ** gamma * math.log(p) + (1 - alpha) * p**gamma * math.log(1 - p)


def _l1(box: list[float], truth: list[float], size: tuple[int, int], form: str) -> float:
    height, width = size

    def shares(corners: list[float]) -> list[float]:
        x1, y1, x2, y2 = corners[0] / width, corners[1] / height, corners[2] / width, corners[3] / height
        return [x1, y1, x2, y2] if form == "xyxy" else [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]

    return sum(abs(a - b) for a, b in zip(shares(box), shares(truth), strict=True))


def _iou(a: list[float], b: list[float]) -> tuple[float, float]:
    """(IoU, union area)."""
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union, union


def _giou(a: list[float], b: list[float]) -> float:
    iou, union = _iou(a, b)
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return iou - (hull - union) / hull


def _distinct(logits: Tensor, boxes: list[Tensor], alive: set[int], size: tuple[int, int],
              threshold: float) -> set[int]:  # fmt: skip
    """Queries of the next layer: those that survive a class-agnostic NMS (0.8 in the paper), in shares of the image.

    The host reads the survivors from the first row of an attention mask, which is open for all where query 0 survives.
    """
    best = logits.max(dim=1).values.tolist()
    kept: list[int] = []
    for q in sorted(alive, key=lambda q: -best[q]):
        box = [float(v) / side for v, side in zip(boxes[q], (size[1], size[0]) * 2, strict=True)]
        others = ([float(v) / side for v, side in zip(boxes[k], (size[1], size[0]) * 2, strict=True)] for k in kept)
        if all(_iou(box, other)[0] <= threshold for other in others):
            kept.append(q)
    return set(range(len(boxes))) if 0 in kept else set(kept)


# ------------------------------------------------------------------------------------------------- Sparse R-CNN


def _sparse(student: Any, features: tuple[Tensor, ...], samples: list[Any]) -> list[ReferenceLayer]:
    """Learned boxes and features; each stage refines the boxes of the one before, which are constants for it."""
    rpn, roi = student.rpn_head, student.roi_head
    learned = [_pixels(row, s.metainfo["img_shape"]) for s in samples for row in rpn.init_proposal_bboxes.weight]
    boxes = torch.stack(learned).unflatten(0, (len(samples), -1))
    state = rpn.init_proposal_features.weight.expand(len(samples), -1, -1)
    layers = []
    for stage, head in enumerate(roi.bbox_head):
        rois = torch.stack([torch.cat([box.new_tensor([float(i)]), box]) for i, image in enumerate(boxes)
                            for box in image])  # fmt: skip
        logits, deltas, state, _ = head(roi.bbox_roi_extractor[stage](features, rois), state)
        refined = [[_refine(box, delta) for box, delta in zip(image, of_image, strict=True)]
                   for image, of_image in zip(boxes, deltas, strict=True)]  # fmt: skip
        layer = ReferenceLayer()
        for i, sample in enumerate(samples):
            _match(layer, i, logits[i], refined[i], list(range(len(refined[i]))), sample, "xyxy")
        layers.append(layer)
        boxes = torch.stack([torch.stack(image) for image in refined]).detach()
    return layers


def _refine(box: Tensor, delta: Tensor) -> Tensor:
    """Faster R-CNN's encoding with standard deviations 0.5, 0.5, 1, 1 and no mean."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    x, y = (x1 + x2) / 2 + 0.5 * delta[0] * w, (y1 + y2) / 2 + 0.5 * delta[1] * h
    w, h = w * torch.exp(delta[2]), h * torch.exp(delta[3])
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
