"""A slow, literal DeFeat: one loop per sum of the formula, nothing shared with the production code.

"Distilling Object Detectors via Decoupled Features", CVPR 2021, arXiv 2103.14475. Every level, image, box and cell is
visited by a Python loop. Student maps come in adapted: there is no adaptation layer here. Autograd runs through the
explicit arithmetic, in the dtype of the input (float64 for a check against rounding); masks and teacher carry no
gradient. It imports nothing of the package it checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _number(x: Tensor) -> float:
    return float(x.detach())


# --------------------------------------------------------------------------------------------------------- masks


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


def object_masks(
    boxes: Sequence[Tensor], strides: Sequence[float], sizes: Sequence[tuple[int, int]], base: float = 56.0
) -> list[Tensor]:
    """Per level (B, h, w) booleans: cells of the boxes assigned to that level. The background is the rest."""
    out = []
    for level, (height, width) in enumerate(sizes):
        mask = torch.zeros(len(boxes), height, width, dtype=torch.bool)
        for image in range(len(boxes)):
            for box in boxes[image]:
                if level_of(box, len(sizes), base) == level:
                    mask[image] |= raster(box, strides[level], height, width)
        out.append(mask)
    return out


def nearest(mask: Tensor, height: int, width: int) -> Tensor:
    """(B, h, w) to (B, height, width): cell i takes floor(i h / height), in whole numbers."""
    out = torch.zeros(mask.shape[0], height, width, dtype=mask.dtype)
    for image in range(mask.shape[0]):
        for row in range(height):
            for column in range(width):
                source = (row * mask.shape[1]) // height, (column * mask.shape[2]) // width
                out[image, row, column] = mask[image, source[0], source[1]]
    return out


# -------------------------------------------------------------------------------------------------- feature terms


def two_regions(student: Sequence[Tensor], teacher: Sequence[Tensor], masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(L_obj, L_bg), unweighted: per level half the mean squared error of a region, then the mean over levels."""
    obj = sum((s.sum() * 0 for s in student), torch.zeros(()))
    bg = sum((s.sum() * 0 for s in student), torch.zeros(()))
    for s, t, mask in zip(student, teacher, masks, strict=True):
        batch, channels, height, width = t.shape
        sum_obj, sum_bg = s.sum() * 0, s.sum() * 0
        n_obj, n_bg = 0, 0
        for image in range(batch):
            for row in range(height):
                for column in range(width):
                    d2 = ((s[image, :, row, column] - t[image, :, row, column].detach()) ** 2).sum()
                    if bool(mask[image, row, column]):
                        sum_obj = sum_obj + d2
                        n_obj += channels
                    else:
                        sum_bg = sum_bg + d2
                        n_bg += channels
        obj = obj + sum_obj / max(1, 2 * n_obj)
        bg = bg + sum_bg / max(1, 2 * n_bg)
    return obj / len(student), bg / len(student)


def neck(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    boxes: Sequence[Tensor],
    strides: Sequence[float],
    base: float = 56.0,
) -> tuple[Tensor, Tensor]:
    """(L_obj, L_bg) of the neck, unweighted; boxes are assigned to levels."""
    sizes = [(t.shape[2], t.shape[3]) for t in teacher]
    return two_regions(student, teacher, object_masks(boxes, strides, sizes, base))


def backbone(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    boxes: Sequence[Tensor],
    stride: float,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """(L_obj, L_bg) of backbone maps, unweighted.

    Every box is drawn on one grid, the finest neck level's (`stride`, `size` = (h, w)), which is resized to each map.
    """
    drawn = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for image in range(len(boxes)):
        for box in boxes[image]:
            drawn[image] |= raster(box, stride, *size)
    return two_regions(student, teacher, [nearest(drawn, t.shape[2], t.shape[3]) for t in teacher])


# -------------------------------------------------------------------------------------------------- proposal term


def log_softmax(z: Tensor) -> Tensor:
    """The logits less the logarithm of the sum of their exponentials; the maximum is taken out as a constant."""
    shifted = z - _number(z.max())
    return shifted - shifted.exp().sum().log()


def tempered_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of one row of logits, summed over the classes; 0 log 0 = 0."""
    log_s, log_t = log_softmax(student / temperature), log_softmax(teacher.detach() / temperature)
    total = student.sum() * 0
    for c in range(len(teacher)):
        p = log_t[c].exp()
        if _number(p) > 0:
            total = total + p * (log_t[c] - log_s[c])
    return temperature**2 * total


def proposals(
    student: Tensor, teacher: Tensor, positive: Tensor, t_obj: float = 1.0, t_bg: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(object, background) classification terms, unweighted, over one set of RoIs.

    student, teacher: (K, C + 1) logits of the same RoIs. positive: K booleans, from the labels of the sampling that
    drew the RoIs (the teacher's). A group without RoIs gives 0.
    """
    obj, bg = student.sum() * 0, student.sum() * 0
    k_obj, k_bg = 0, 0
    for k in range(len(student)):
        if bool(positive[k]):
            obj = obj + tempered_kl(student[k], teacher[k], t_obj)
            k_obj += 1
        else:
            bg = bg + tempered_kl(student[k], teacher[k], t_bg)
            k_bg += 1
    return obj / max(k_obj, 1), bg / max(k_bg, 1)
