"""A slow, literal GID: one loop per sum of the formula, nothing shared with the production code.

"General Instance Distillation for Object Detection", CVPR 2021, arXiv 2103.02340. Every prediction, box, pair and
class is visited by a Python loop. Student features come in adapted and pooled. Autograd runs through the explicit
arithmetic, in the dtype of the input (float64 for a check against rounding); scores, selection and teacher carry no
gradient. It imports nothing of the package it checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _number(x: Tensor) -> float:
    return float(x.detach())


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


# ----------------------------------------------------------------------------------------------------- selection


def scores(student: Tensor, teacher: Tensor, form: str = "paper") -> tuple[Tensor, Tensor]:
    """(GI scores (R,), booleans (R,): the teacher's box is taken) from two (R, C) sigmoid logits.

    form "paper": the largest difference of a class. form "code": the difference of the largest scores. In both the box
    is the teacher's where its largest score is above the student's, else the student's (a tie as well).
    """
    gi = torch.zeros(len(student), dtype=student.dtype)
    from_teacher = torch.zeros(len(student), dtype=torch.bool)
    for r in range(len(student)):
        p_s = [_sigmoid(_number(z)) for z in student[r]]
        p_t = [_sigmoid(_number(z)) for z in teacher[r]]
        if form == "paper":
            gi[r] = max(abs(t - s) for s, t in zip(p_s, p_t, strict=True))
        elif form == "code":
            gi[r] = abs(max(p_t) - max(p_s))
        else:
            raise ValueError(f"form is {form!r}; it is paper or code")
        from_teacher[r] = max(p_t) > max(p_s)
    return gi, from_teacher


def boxes_of(student: Tensor, teacher: Tensor, from_teacher: Tensor) -> Tensor:
    """The (R, 4) boxes: row by row the teacher's or the student's, without gradient."""
    out = student.detach().clone()
    for r in range(len(student)):
        if bool(from_teacher[r]):
            out[r] = teacher[r].detach()
    return out


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two xyxy boxes."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union if union > 0 else 0.0


def select(
    gi: Sequence[Tensor],
    boxes: Sequence[Tensor],
    image_size: tuple[int, int],
    *,
    candidates: int = 3000,
    min_side: float = 10.0,
    threshold: float = 0.3,
    keep: int = 10,
) -> tuple[list[int], Tensor]:
    """The general instances of one image: (numbers in the order of all levels joined, (K, 4) clipped boxes).

    gi, boxes: per level (R_l,) and (R_l, 4). image_size: (height, width) to clip to. The best `candidates` are clipped,
    those with a side not above `min_side` dropped, a box that overlaps a better one by more than `threshold` dropped,
    and the first `keep` are left, best first. Among equal scores the earlier prediction is better.
    """
    all_gi = [_number(value) for level in gi for value in level]
    all_boxes = [[float(v) for v in box.detach()] for level in boxes for box in level]
    height, width = image_size
    order = sorted(range(len(all_gi)), key=lambda r: (-all_gi[r], r))[:candidates]
    chosen: list[int] = []
    clipped: list[list[float]] = []
    for r in order:
        x1, y1, x2, y2 = all_boxes[r]
        x1, x2 = min(max(x1, 0.0), width), min(max(x2, 0.0), width)
        y1, y2 = min(max(y1, 0.0), height), min(max(y2, 0.0), height)
        if x2 - x1 <= min_side or y2 - y1 <= min_side:
            continue
        if any(iou([x1, y1, x2, y2], better) > threshold for better in clipped):
            continue
        chosen.append(r)
        clipped.append([x1, y1, x2, y2])
    dtype = boxes[0].dtype if boxes else torch.float32
    return chosen[:keep], torch.tensor(clipped[:keep], dtype=dtype).reshape(-1, 4)


def pooling_level(box: Tensor, lowest: int = 3, highest: int = 7) -> int:
    """The pyramid level (P3 is 3) a general instance is pooled from."""
    x1, y1, x2, y2 = (_number(v) for v in box)
    level = math.floor(4 + math.log2(math.sqrt((x2 - x1) * (y2 - y1)) / 224 + 1e-8))
    return min(max(level, lowest), highest)


# ---------------------------------------------------------------------------------------------- feature, relation


def distance(a: Tensor, b: Tensor) -> Tensor:
    """The Euclidean distance of two tensors; where it is 0 its gradient is 0."""
    squared = ((a - b) ** 2).sum()
    return squared.sqrt() if _number(squared) > 0 else squared


def feature(student: Tensor, teacher: Tensor, form: str = "paper") -> Tensor:
    """L_feature, unweighted, of (K, M, s, s) pooled features of all images.

    form "paper": the mean over the K instances of the distance. form "code": squared differences over K s s.
    """
    k_total, _, height, width = student.shape
    total = student.sum() * 0
    for i in range(k_total):
        if form == "paper":
            total = total + distance(student[i], teacher[i].detach())
        elif form == "code":
            total = total + ((student[i] - teacher[i].detach()) ** 2).sum() / (height * width)
        else:
            raise ValueError(f"form is {form!r}; it is paper or code")
    return total / max(k_total, 1)


def normalised_distances(features: Tensor) -> list[list[Tensor]]:
    """n x n distances of the n flattened rows over the mean of those above 0; as they are when none is above 0."""
    n = len(features)
    distances = [[distance(features[i].flatten(), features[j].flatten()) for j in range(n)] for i in range(n)]
    total, count = features.sum() * 0, 0
    for i in range(n):
        for j in range(n):
            if i != j and _number(distances[i][j]) > 0:
                total = total + distances[i][j]
                count += 1
    if count == 0:
        return distances
    return [[distances[i][j] / (total / count) for j in range(n)] for i in range(n)]


def smooth_l1(difference: Tensor, beta: float) -> Tensor:
    """One number: d^2 / (2 beta) below beta, |d| - beta / 2 from there on; |d| when beta is 0."""
    if abs(_number(difference)) < beta:
        return difference**2 / (2 * beta)
    return difference.abs() - beta / 2


def relation(student: Tensor, teacher: Tensor) -> Tensor:
    """L_relation, unweighted, over all ordered pairs of the n instances of the batch; 0 below three instances."""
    n = len(student)
    total = student.sum() * 0
    if n < 3:
        return total
    d_student, d_teacher = normalised_distances(student), normalised_distances(teacher.detach())
    for i in range(n):
        for j in range(n):
            if i != j:
                total = total + smooth_l1(d_student[i][j] - d_teacher[i][j], 1.0)
    return total / (n * (n - 1))


# ------------------------------------------------------------------------------------------------------ response


def log_sigmoid(z: Tensor) -> Tensor:
    """log(1 / (1 + exp(-z))) of one number, whatever its size."""
    if _number(z) >= 0:
        return -torch.log1p((-z).exp())
    return z - torch.log1p(z.exp())


def bce(z: Tensor, q: Tensor) -> Tensor:
    """- q log sigmoid(z) - (1 - q) log(1 - sigmoid(z)) of one number."""
    return -q * log_sigmoid(z) - (1 - q) * log_sigmoid(-z)


def response(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_deltas: Tensor,
    teacher_deltas: Tensor,
    matched: Tensor,
    *,
    subtract_entropy: bool = False,
    smooth_beta: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """(classification, regression) response terms, each over max(1, N_m), before alpha and beta.

    Logits are (R, C), deltas (R, 4), matched R booleans, over all images. `subtract_entropy` takes the entropy of the
    teacher away, so that the value is 0 at equal logits.
    """
    cls, reg = student_logits.sum() * 0, student_deltas.sum() * 0
    n_m = 0
    for r in range(len(student_logits)):
        if not bool(matched[r]):
            continue
        n_m += 1
        for c in range(student_logits.shape[1]):
            z_t = teacher_logits[r, c].detach()
            q = torch.full_like(z_t, _sigmoid(_number(z_t)))
            cls = cls + bce(student_logits[r, c], q)
            if subtract_entropy:
                cls = cls - bce(z_t, q)
        for side in range(student_deltas.shape[1]):
            reg = reg + smooth_l1(student_deltas[r, side] - teacher_deltas[r, side].detach(), smooth_beta)
    return cls / max(1, n_m), reg / max(1, n_m)


def weighted_response(cls: Tensor, reg: Tensor, alpha: float, beta: float) -> Tensor:
    """L_resp = alpha cls + beta reg."""
    return alpha * cls + beta * reg
