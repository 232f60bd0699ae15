"""Hungarian matching of predictions as DETR does it, for DETRDistill: costs, pairs, and the boxes' frame of both."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss

from c2d.detectors.heads import LogitKind


class Weights(NamedTuple):
    """Weights of the costs of a match, and of the losses of a matched pair.

    Attributes:
        classes, l1, giou: of the class scores, of the L1 distance of boxes, of 1 - GIoU.
    """

    classes: float
    l1: float
    giou: float


class Predictions(NamedTuple):
    """Predictions of one decoder layer for one image.

    Attributes:
        logits: (Q, C) or (Q, C + 1).
        boxes: (Q, 4) xyxy px.
        kind: activation of the logits.
    """

    logits: Tensor
    boxes: Tensor
    kind: LogitKind

    def scores(self) -> Tensor:
        """Return the probabilities (Q, C) of the foreground classes."""
        return self.logits.sigmoid() if self.kind == "sigmoid" else self.logits.softmax(1)[:, :-1]

    def rows(self, index: Tensor) -> Predictions:
        """Return the predictions of the queries `index` (K,) long."""
        return Predictions(self.logits[index], self.boxes[index], self.kind)


def shares(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Convert boxes (K, 4) xyxy px to cxcywh as shares of an image of (height, width) px."""
    height, width = size
    return box_convert(boxes, "xyxy", "cxcywh") / boxes.new_tensor([width, height, width, height])


def box_cost(boxes: Tensor, targets: Tensor, size: tuple[int, int], weights: Weights) -> Tensor:
    """Cost of the boxes of all pairs: L1 of shares, and -GIoU.

    Args:
        boxes: (Q, 4) xyxy px.
        targets: (G, 4) xyxy px.
        size: (height, width) of the image in px.
        weights: of the parts.

    Returns:
        (Q, G).
    """
    distance = (shares(boxes, size)[:, None] - shares(targets, size)[None]).abs().sum(2)
    return weights.l1 * distance - weights.giou * generalized_box_iou(boxes, targets)


def class_cost(found: Predictions, labels: Tensor) -> Tensor:
    """Cost (Q, G) of the class scores for labels (G,): focal for sigmoid, -p for softmax, as in DETR-like heads."""
    p = found.scores()[:, labels]
    if found.kind == "softmax":
        return -p
    positive, negative = 0.25 * (1 - p).square() * -(p + 1e-12).log(), 0.75 * p.square() * -(1 - p + 1e-12).log()
    return positive - negative


@torch.no_grad()
def match(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Solve the assignment with the least sum of costs.

    Args:
        cost: (Q, G).

    Returns:
        Rows and columns of the min(Q, G) pairs, both (K,) long.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = (torch.as_tensor(index, device=cost.device) for index in linear_sum_assignment(cost.cpu().numpy()))
    return rows, columns


def match_targets(
    found: Predictions, boxes: Tensor, labels: Tensor, size: tuple[int, int], weights: Weights
) -> tuple[Tensor, Tensor]:
    """Match predictions to boxes (G, 4) xyxy px with labels (G,): queries and targets of the pairs, both (K,) long."""
    cost = weights.classes * class_cost(found, labels) + box_cost(found.boxes, boxes, size, weights)
    return match(cost.detach())


def box_losses(boxes: Tensor, targets: Tensor, size: tuple[int, int], weights: Weights) -> Tensor:
    """Weighted L1 of shares and 1 - GIoU of matched boxes, both (K, 4) xyxy px: (K,)."""
    distance = (shares(boxes, size) - shares(targets, size)).abs().sum(1)
    return weights.l1 * distance + weights.giou * generalized_box_iou_loss(boxes, targets)


def class_losses(student: Predictions, teacher: Predictions) -> Tensor:
    """Distance (K,) of the class scores of matched predictions, 0 at equality.

    Sigmoid: the quality focal loss with the teacher's scores as targets, summed over classes. Softmax: KL, background
    included.
    """
    z_s, z_t = student.logits, teacher.logits.detach()
    if student.kind == "softmax":
        return (z_t.softmax(1) * (z_t.log_softmax(1) - z_s.log_softmax(1))).sum(1)
    target = z_t.sigmoid()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(z_s, target, reduction="none")
    return ((target - z_s.sigmoid()).square() * entropy).sum(1)
