"""A slow, literal ICOD: one loop per sum of the paper, nothing shared with the production code.

"Distilling Image Classifiers in Object Detectors", NeurIPS 2021, arXiv 2106.05209. Every image, positive, sample
and pooling window is visited by a Python loop; the whole classifier runs on every crop; the crop of a ground truth is
taken again for every positive that uses it. Autograd runs through the explicit arithmetic, in the dtype of the input
(float64 for a check against rounding). It imports nothing of the package it checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_SIDE = 1e-3  # pixels; the smallest width and height of a box that is cropped

Stages = Callable[[Tensor], Mapping[str, Tensor]]
"""Runs the whole classifier on (1, 3, s, s); returns "logits" (1, C) and every stage by its name (1, M, h, w)."""


@dataclass
class Case:
    """What ICOD sees of one batch, as plain tensors.

    Attributes:
        images: (B, 3, H, W), normalised for the student and padded.
        gt_boxes: one (G_i, 4) per image, xyxy in pixels of `images`.
        logits: (K, C) for a sigmoid student, (K, C + 1) with background last for a softmax student.
        boxes: (K, 4) decoded predictions, xyxy in pixels of `images`.
        image: K image numbers.
        gt: K numbers of ground truths inside their image.
        kind: "softmax", "sigmoid" or "scores".
    """

    images: Tensor
    gt_boxes: Sequence[Tensor]
    logits: Tensor
    boxes: Tensor
    image: Sequence[int]
    gt: Sequence[int]
    kind: str

    def positives_of(self, image: int) -> int:
        """How many positives lie in one image."""
        return sum(1 for i in self.image if int(i) == image)


def _number(x: Tensor) -> float:
    return float(x.detach())


# --------------------------------------------------------------------------------------------------- geometry


def clamp_box(box: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All four sides into the image, then at least MIN_SIDE wide and high and still inside it."""
    x1, y1, x2, y2 = box[0], box[1], box[2], box[3]
    x1, x2 = _clamp_side(x1, x2, width)
    y1, y2 = _clamp_side(y1, y2, height)
    return x1, y1, x2, y2


def _clamp_side(low: Tensor, high: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    if _number(low) < 0:
        low = torch.zeros_like(low)
    if _number(low) > limit - MIN_SIDE:
        low = torch.full_like(low, limit - MIN_SIDE)
    if _number(high) > limit:
        high = torch.full_like(high, float(limit))
    if _number(high) < _number(low) + MIN_SIDE:
        high = low + MIN_SIDE
    return low, high


def crop(image: Tensor, box: Tensor, size: int) -> Tensor:
    """The (3, size, size) crop of one box of one image (3, H, W).

    Sample j lies at x1 + (j + 0.5) / size * (x2 - x1) in pixel-edge coordinates; pixel i covers [i, i + 1], its value
    sits at i + 0.5, and outside the image there are zeros.
    """
    height, width = image.shape[-2:]
    x1, y1, x2, y2 = clamp_box(box, width, height)
    columns = [x1 + (j + 0.5) / size * (x2 - x1) - 0.5 for j in range(size)]
    rows = [y1 + (j + 0.5) / size * (y2 - y1) - 0.5 for j in range(size)]
    samples = [_bilinear(image, x, y) for y in rows for x in columns]
    return torch.stack(samples, dim=1).reshape(image.shape[0], size, size)


def _bilinear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The value (3,) between the four pixels around (x, y), given in coordinates where pixel i sits at i."""
    height, width = image.shape[-2:]
    left, top = math.floor(_number(x)), math.floor(_number(y))
    value = torch.zeros_like(image[:, 0, 0])
    for row, row_weight in ((top, top + 1 - y), (top + 1, y - top)):
        for column, column_weight in ((left, left + 1 - x), (left + 1, x - left)):
            if 0 <= row < height and 0 <= column < width:
                value = value + image[:, row, column] * (row_weight * column_weight)
    return value


def adaptive_average(x: Tensor, out: int) -> Tensor:
    """(M, h, w) to (M, out, out): window i runs from floor(i h / out) to ceil((i + 1) h / out)."""
    height, width = x.shape[-2:]
    rows = []
    for i in range(out):
        top, bottom = (i * height) // out, -((-(i + 1) * height) // out)
        row = []
        for j in range(out):
            left, right = (j * width) // out, -((-(j + 1) * width) // out)
            window = x[:, top:bottom, left:right]
            row.append(window.sum(dim=(1, 2)) / ((bottom - top) * (right - left)))
        rows.append(torch.stack(row, dim=1))
    return torch.stack(rows, dim=1)


# ------------------------------------------------------------------------------------------------ classification


def softmax(z: Tensor) -> Tensor:
    """Plain exponentials over their sum; the maximum is taken out as a constant."""
    e = (z - _number(z.max())).exp()
    return e / e.sum()


def sigmoid(z: Tensor) -> Tensor:
    """1 / (1 + exp(-z))."""
    return 1 / (1 + (-z).exp())


def kl(p: Sequence[Tensor], q: Sequence[Tensor]) -> Tensor:
    """Sum of p (log p - log q), with 0 log 0 = 0."""
    total = q[0] * 0
    for a, b in zip(p, q, strict=True):
        if _number(a) > 0:
            total = total + a * (a.log() - b.log())
    return total


def classification_of_one(student: Tensor, teacher: Tensor, temperature: float, kind: str) -> Tensor:
    """One positive's KD_cls: student (C + 1,) or (C,), teacher (C,).

    kind "scores" is the other form for sigmoid students: scores are divided by their sum over the classes.
    """
    if kind == "softmax":
        p_student = softmax(student / temperature)
        p_teacher = softmax(teacher / temperature)
        padded = [*p_teacher, torch.zeros_like(p_teacher[0])]  # the classifier knows no background
        return temperature**2 * kl(padded, list(p_student))
    q_student, q_teacher = sigmoid(student / temperature), sigmoid(teacher / temperature)
    if kind == "scores":
        return temperature**2 * kl(list(q_teacher / q_teacher.sum()), list(q_student / q_student.sum()))
    if kind != "sigmoid":
        raise ValueError(f"kind is {kind!r}; it is softmax, sigmoid or scores")
    total = student.sum() * 0
    for c in range(len(teacher)):
        total = total + kl([q_teacher[c], 1 - q_teacher[c]], [q_student[c], 1 - q_student[c]])
    return temperature**2 / len(teacher) * total


def divisor(case: Case, normaliser: str) -> int:
    """K, by either of the two countings.

    exact: the positives of the batch. per_image: the sum over images of max(positives of the image, 1), which is what
    SSD's own average factor is.
    """
    exact = len(case.image)
    if normaliser == "exact":
        return exact
    if normaliser == "per_image":
        return sum(max(case.positives_of(i), 1) for i in range(len(case.images)))
    raise ValueError(f"normaliser is {normaliser!r}; it is exact or per_image")


def kd_cls(
    case: Case,
    stages: Stages,
    *,
    temperature: float,
    size: int,
    normaliser: str,
    convert: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The classification term, unweighted. `convert` turns a crop (1, 3, s, s) into the teacher's pixels."""
    total = case.logits.sum() * 0
    for k in range(len(case.image)):
        i, a = int(case.image[k]), int(case.gt[k])
        with torch.no_grad():
            o_gt = crop(case.images[i], case.gt_boxes[i][a], size)[None]
            z_teacher = stages(convert(o_gt) if convert else o_gt)["logits"][0]
        total = total + classification_of_one(case.logits[k], z_teacher, temperature, case.kind)
    return total / divisor(case, normaliser) if case.image else total


# -------------------------------------------------------------------------------------------------- localisation


def kd_loc(
    case: Case,
    stages: Stages,
    *,
    layers: Sequence[str],
    pooled: Mapping[str, int],
    size: int,
    normaliser: str,
    convert: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """The raw-crop term ("crop", when among the layers) and the feature term ("feat", over the others), unweighted."""
    deep = [name for name in layers if name != "crop"]
    raw = case.boxes.sum() * 0
    feat = case.boxes.sum() * 0
    for k in range(len(case.image)):
        i, a = int(case.image[k]), int(case.gt[k])
        o_prediction = crop(case.images[i], case.boxes[k], size)
        with torch.no_grad():
            o_gt = crop(case.images[i], case.gt_boxes[i][a], size)
        if "crop" in layers:
            raw = raw + _pooled_distance(o_prediction, o_gt, pooled["crop"])
        if not deep:
            continue
        f_prediction = stages(convert(o_prediction[None]) if convert else o_prediction[None])
        with torch.no_grad():
            f_gt = stages(convert(o_gt[None]) if convert else o_gt[None])
        for name in deep:
            feat = feat + _pooled_distance(f_prediction[name][0], f_gt[name][0], pooled[name]) / len(deep)
    k_total = divisor(case, normaliser) if case.image else 1
    out = {}
    if "crop" in layers:
        out["crop"] = raw / k_total
    if deep:
        out["feat"] = feat / k_total
    return out


def _pooled_distance(a: Tensor, b: Tensor, out: int) -> Tensor:
    """|| AP(a) - AP(b) ||_1 / (M out^2) for two (M, h, w)."""
    difference = adaptive_average(a, out) - adaptive_average(b, out)
    return difference.abs().sum() / (a.shape[0] * out * out)
