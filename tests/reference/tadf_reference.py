"""A slow, literal TADF: one loop per sum of the formula, nothing shared with the production code.

"Distilling Object Detectors with Task Adaptive Regularization", 2020, arXiv 2006.13108. Every level, image, box, cell,
RoI and class is visited by a Python loop. Student maps come in adapted: there is no adaptation layer here. Autograd
runs through the explicit arithmetic, in the dtype of the input (float64 for a check against rounding); gates, masks
and teacher carry no gradient. It imports nothing of the package it checks.

The paper's text and code were not to be had; where its formula leaves a choice, the choice is an argument.

The Gaussian is laid over the real-valued box in units of cells: its centre and size are those of the box over the
stride, and cell (row, column) is asked at (column + 0.5, row + 0.5). So 1, 0.6065 and 0.3679 are the values at the
centre, the middle of an edge and a corner of the box; a cell has them when its own centre lies there. Only cells of
the integer raster of the box are set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _number(x: Tensor) -> float:
    return float(x.detach())


# ---------------------------------------------------------------------------------------------------------- mask


def level_of(box: Tensor, levels: int, base: float = 56.0) -> int:
    """The pyramid level of one xyxy box: sides count one pixel more, a side of `base` is where level 0 begins."""
    x1, y1, x2, y2 = (_number(v) for v in box)
    side = math.sqrt((x2 - x1 + 1) * (y2 - y1 + 1))
    level = math.floor(math.log2(side / base + 1e-6))
    return min(max(level, 0), levels - 1)


def raster(box: Tensor, stride: float, height: int, width: int) -> Tensor:
    """The (height, width) booleans of one xyxy box: half-open; a box thinner than a cell gives one cell.

    The first column and row are held on the map before anything is compared, so a box on the far border still has
    cells. There is no guard for boxes that begin left of or above the map: cells outside the map are just not set.
    """
    x1, y1, x2, y2 = (_number(v) for v in box)
    left, top = min(math.trunc(x1 / stride), width - 1), min(math.trunc(y1 / stride), height - 1)
    right, bottom = min(math.trunc(x2 / stride), width), min(math.trunc(y2 / stride), height)
    thin = left == right or top == bottom
    out = torch.zeros(height, width, dtype=torch.bool)
    for row in range(height):
        for column in range(width):
            if thin:
                out[row, column] = row == top and column == left
            else:
                out[row, column] = top <= row < bottom and left <= column < right
    return out


def gaussian(x: float, y: float, cx: float, cy: float, w: float, h: float) -> float:
    """The value at (x, y) of the Gaussian of a box with centre (cx, cy), width w and height h."""
    return math.exp(-0.5 * ((x - cx) / (w / 2)) ** 2) * math.exp(-0.5 * ((y - cy) / (h / 2)) ** 2)


def gaussian_masks(
    boxes: Sequence[Tensor],
    strides: Sequence[float],
    sizes: Sequence[tuple[int, int]],
    base: float = 56.0,
    *,
    min_cells: float = 1.0,
) -> list[Tensor]:
    """Per level (B, h, w) float64: the Gaussians of the boxes assigned to that level, the larger where two overlap.

    A box narrower than `min_cells` cells counts as that wide (its raster is one cell at least); so for its height.
    """
    out = []
    for level, (height, width) in enumerate(sizes):
        mask = torch.zeros(len(boxes), height, width, dtype=torch.float64)
        for image in range(len(boxes)):
            for box in boxes[image]:
                if level_of(box, len(sizes), base) != level:
                    continue
                x1, y1, x2, y2 = (_number(v) / strides[level] for v in box)
                w, h = max(x2 - x1, min_cells), max(y2 - y1, min_cells)
                inside = raster(box, strides[level], height, width)
                for row in range(height):
                    for column in range(width):
                        if bool(inside[row, column]):
                            value = gaussian(column + 0.5, row + 0.5, (x1 + x2) / 2, (y1 + y2) / 2, w, h)
                            mask[image, row, column] = max(_number(mask[image, row, column]), value)
        out.append(mask)
    return out


# ------------------------------------------------------------------------------------------------------- feature


def feature(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    masks: Sequence[Tensor],
    *,
    per_channel: bool = False,
    per_level: bool = True,
) -> Tensor:
    """L_feat, unweighted: weighted squared differences over twice the sum of the mask.

    per_channel: the mask's sum runs over the channels as well. per_level: each level is divided by its own sum and the
    quotients are added; else the sums of all levels are added first. A sum of 0 gives 0.
    """
    zero = sum((s.sum() * 0 for s in student), torch.zeros(()))
    quotients, numerator, denominator = zero, zero, 0.0
    for s, t, mask in zip(student, teacher, masks, strict=True):
        batch, channels, height, width = t.shape
        level_sum, mask_sum = s.sum() * 0, 0.0
        for image in range(batch):
            for row in range(height):
                for column in range(width):
                    m = _number(mask[image, row, column])
                    if m > 0:
                        d2 = ((s[image, :, row, column] - t[image, :, row, column].detach()) ** 2).sum()
                        level_sum = level_sum + m * d2
                        mask_sum += m * (channels if per_channel else 1)
        if mask_sum > 0:
            quotients = quotients + level_sum / (2 * mask_sum)
        numerator, denominator = numerator + level_sum, denominator + mask_sum
    if per_level:
        return quotients
    return numerator / (2 * denominator) if denominator > 0 else numerator


# ------------------------------------------------------------------------------------------------ classification


def log_sum_exp(z: Sequence[Tensor]) -> Tensor:
    """The logarithm of the sum of exponentials; the maximum is taken out as a constant."""
    largest = max(_number(v) for v in z)
    total = (z[0] - largest).exp()
    for v in z[1:]:
        total = total + (v - largest).exp()
    return total.log() + largest


def soft_bce(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum over the C + 1 classes of - p_t log p_s - (1 - p_t) log(1 - p_s), p the softmax of one row of logits.

    1 - p_s is the probability of all other classes together, so no logarithm needs a floor.
    """
    z_s, z_t = list(student), list(teacher.detach())
    all_s, all_t = log_sum_exp(z_s), log_sum_exp(z_t)
    total = student.sum() * 0
    for c in range(len(z_s)):
        p_t = (z_t[c] - all_t).exp()
        others = log_sum_exp(z_s[:c] + z_s[c + 1 :]) - all_s
        total = total - p_t * (z_s[c] - all_s) - (1 - p_t) * others
    return total


def classification_gate(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """K booleans: the teacher's softmax probability of the true class exceeds the student's."""
    out = torch.zeros(len(student), dtype=torch.bool)
    for k in range(len(student)):
        c = int(labels[k])
        log_s = _number(student[k, c]) - _number(log_sum_exp(list(student[k])))
        log_t = _number(teacher[k, c]) - _number(log_sum_exp(list(teacher[k])))
        out[k] = log_t > log_s
    return out


def _divisor(gate: Tensor, normaliser: str) -> int:
    """How many RoIs a sum is divided by: all positives, or those the gate keeps; at least 1."""
    if normaliser == "positives":
        return max(len(gate), 1)
    if normaliser == "kept":
        return max(sum(1 for g in gate if bool(g)), 1)
    raise ValueError(f"normaliser is {normaliser!r}; it is positives or kept")


def classification(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    gated: bool = True,
    mean_over_classes: bool = False,
    normaliser: str = "positives",
) -> Tensor:
    """L_cls, unweighted, of the K positive RoIs: (K, C + 1) logits, background last, K true classes."""
    gate = classification_gate(student, teacher, labels) if gated else torch.ones(len(student), dtype=torch.bool)
    total = student.sum() * 0
    for k in range(len(student)):
        if bool(gate[k]):
            row = soft_bce(student[k], teacher[k])
            total = total + (row / student.shape[1] if mean_over_classes else row)
    return total / _divisor(gate, normaliser)


# ----------------------------------------------------------------------------------------------------------- box


def iou(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two xyxy boxes."""
    ax1, ay1, ax2, ay2 = (_number(v) for v in a)
    bx1, by1, bx2, by2 = (_number(v) for v in b)
    both = max(min(ax2, bx2) - max(ax1, bx1), 0.0) * max(min(ay2, by2) - max(ay1, by1), 0.0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both
    return both / union if union > 0 else 0.0


def box_gate(teacher_boxes: Tensor, proposals: Tensor, targets: Tensor) -> Tensor:
    """K booleans: the teacher's decoded box overlaps the ground truth more than the proposal does."""
    out = torch.zeros(len(targets), dtype=torch.bool)
    for k in range(len(targets)):
        out[k] = iou(teacher_boxes[k], targets[k]) > iou(proposals[k], targets[k])
    return out


def box(student_deltas: Tensor, teacher_deltas: Tensor, gate: Tensor, *, normaliser: str = "positives") -> Tensor:
    """L_box, unweighted, of the K positive RoIs: the mean absolute difference of the four deltas where the gate is."""
    total = student_deltas.sum() * 0
    for k in range(len(gate)):
        if bool(gate[k]):
            for side in range(4):
                total = total + (student_deltas[k, side] - teacher_deltas[k, side].detach()).abs() / 4
    return total / _divisor(gate, normaliser)


# --------------------------------------------------------------------------------------------------------- total


def decay(epoch: int, epochs: int) -> float:
    """r(t) = 1 - (t - 1) / t_max, with t counted from 1."""
    return 1 - (epoch - 1) / epochs


def total(terms: Sequence[Tensor], weights: Sequence[float], rate: float) -> Tensor:
    """The rate times the weighted sum of the terms."""
    out = terms[0] * 0
    for term, weight in zip(terms, weights, strict=True):
        out = out + weight * term
    return rate * out
