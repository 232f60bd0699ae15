"""A slow, literal FGFI: one loop per sum of the formula, nothing shared with the production code.

"Distilling Object Detectors with Fine-grained Feature Imitation", CVPR 2019, arXiv 1906.03609. Every box is compared
with every anchor by a Python loop. Student maps come in adapted: there is no adaptation layer here. Autograd runs
through the explicit arithmetic, in the dtype of the input; masks and teacher carry no gradient. It imports nothing of
the package it checks.

There is one normaliser: N_p counts the active locations of all images and all levels together, and the sum over every
level is divided by 2 N_p once. A level with few active locations therefore weighs less than one with many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _numbers(box: Tensor) -> list[float]:
    return [float(v) for v in box.detach()]


# ---------------------------------------------------------------------------------------------------------- mask


def level_of(box: Tensor, levels: int, base: float = 56.0) -> int:
    """The pyramid level of one xyxy box: sides count one pixel more, a side of `base` is where level 0 begins."""
    x1, y1, x2, y2 = _numbers(box)
    side = math.sqrt((x2 - x1 + 1) * (y2 - y1 + 1))
    level = math.floor(math.log2(side / base + 1e-6))
    return min(max(level, 0), levels - 1)


def iou(a: Sequence[float], b: Sequence[float], plus_one: bool = False) -> float:
    """Intersection over union of two xyxy boxes; `plus_one` counts sides in whole pixels, the last one included."""
    one = 1.0 if plus_one else 0.0
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + one, 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + one, 0.0)
    both = width * height
    area_a = (a[2] - a[0] + one) * (a[3] - a[1] + one)
    area_b = (b[2] - b[0] + one) * (b[3] - b[1] + one)
    union = area_a + area_b - both
    return both / union if union > 0 else 0.0


def mask_of_one(
    anchors: Tensor, height: int, width: int, box: Tensor, psi: float, plus_one: bool = False
) -> list[list[bool]]:
    """The active cells of one level for one box: some anchor overlaps it by more than psi times the best anchor.

    anchors: (h * w * A, 4), row by row, cell by cell, the A anchors of a cell together. All of them take part, those
    outside of the image as well. The comparison is strict.
    """
    per_cell = anchors.shape[0] // (height * width)
    target = _numbers(box)
    overlaps = [iou(_numbers(anchor), target, plus_one) for anchor in anchors]
    best = 0.0
    for overlap in overlaps:
        best = max(best, overlap)
    out = [[False] * width for _ in range(height)]
    for row in range(height):
        for column in range(width):
            for a in range(per_cell):
                if overlaps[(row * width + column) * per_cell + a] > psi * best:
                    out[row][column] = True
    return out


def masks(
    anchors: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    boxes: Sequence[Tensor],
    psi: float = 0.5,
    *,
    every_level: bool = False,
    base: float = 56.0,
    plus_one: bool = False,
) -> list[Tensor]:
    """Per level (B, h, w) booleans, the union over the boxes of an image.

    A box counts on its own level only, or (`every_level`) on each; the best anchor is always sought on one level. Rows
    of zeros are padding, not boxes.
    """
    out = []
    for level, (height, width) in enumerate(sizes):
        mask = torch.zeros(len(boxes), height, width, dtype=torch.bool)
        for image in range(len(boxes)):
            for box in boxes[image]:
                if not any(_numbers(box)):
                    continue
                if every_level or level_of(box, len(sizes), base) == level:
                    mask[image] |= torch.tensor(mask_of_one(anchors[level], height, width, box, psi, plus_one))
        out.append(mask)
    return out


# ---------------------------------------------------------------------------------------------------------- loss


def imitation(student: Sequence[Tensor], teacher: Sequence[Tensor], active: Sequence[Tensor]) -> Tensor:
    """L_imit, unweighted: squared differences at active locations over 2 N_p; 0 when none is active."""
    total = sum((s.sum() * 0 for s in student), torch.zeros(()))
    n_p = 0
    for s, t, mask in zip(student, teacher, active, strict=True):
        batch, _, height, width = t.shape
        for image in range(batch):
            for row in range(height):
                for column in range(width):
                    if bool(mask[image, row, column]):
                        total = total + ((s[image, :, row, column] - t[image, :, row, column].detach()) ** 2).sum()
                        n_p += 1
    return total / (2 * n_p) if n_p else total
