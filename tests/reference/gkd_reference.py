"""A slow, literal GKD: one loop per sum, nothing shared with the production code.

"Distilling Object Detectors with Global Knowledge", ECCV 2022, arXiv 2210.09022, in the form its released code computes
it. Prototypes are found by the direct form of the joint matching pursuit: every candidate's error is summed over the
residuals of every instance. Losses visit every image, cell, channel, class and prototype in a Python loop. Nothing here
adapts a map: the point losses take the adapted student, pooling takes the neck itself. Teacher tensors, weights and
prototypes carry no gradient. It imports nothing of the package it checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _number(x: Tensor) -> float:
    return float(x.detach())


# --------------------------------------------------------------------------------------------- vectors of instances


def pool_pgm(feature: Tensor, box: Tensor, stride: float) -> Tensor:
    """The mean (M,) of one map (M, h, w) over a box whose corners are truncated to cells, both ends included."""
    x1, y1, x2, y2 = (math.trunc(float(v) / stride) for v in box)
    return _mean_of_cells(feature, x1, y1, x2 + 1, y2 + 1)


def pool_rdm(feature: Tensor, box: Tensor, stride: float) -> Tensor:
    """The mean (M,) over trunc(|c| / s) up to, but without, trunc(|c| / s) + 1 of the far corner."""
    x1, y1, x2, y2 = (math.trunc(abs(float(v)) / stride) for v in box)
    return _mean_of_cells(feature, x1, y1, x2 + 1, y2 + 1)


def _mean_of_cells(feature: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Ends are exclusive; the slice is clipped to the map and keeps at least one cell."""
    height, width = feature.shape[-2:]
    left, right = _clip(left, right, width)
    top, bottom = _clip(top, bottom, height)
    total = torch.zeros_like(feature[:, 0, 0])
    for row in range(top, bottom):
        for column in range(left, right):
            total = total + feature[:, row, column]
    return total / ((bottom - top) * (right - left))


def _clip(low: int, high: int, size: int) -> tuple[int, int]:
    low = min(max(low, 0), size - 1)
    high = min(max(high, low + 1), size)
    return low, high


def level_of(box: Tensor, levels: int, base: float = 56.0) -> int:
    """The level of the neck that a box belongs to: log2 of its size over `base`, with 1 added to both sides."""
    x1, y1, x2, y2 = (float(v) for v in box)
    size = math.sqrt((x2 - x1 + 1) * (y2 - y1 + 1))
    return min(max(math.floor(math.log2(size / base + 1e-6)), 0), levels - 1)


def instance_vectors(
    maps: Sequence[Tensor], boxes: Sequence[Tensor], strides: Sequence[float], base: float = 56.0
) -> tuple[Tensor, list[int]]:
    """The RDM vectors (N, M), each pooled from the level of its box, and those levels.

    Args:
        maps: the neck, one (B, M, h, w) per level, not adapted.
        boxes: one (G_i, 4) per image, xyxy in padded pixels.
        strides: one per level.
        base: the size in pixels from which on a box belongs to level 0.
    """
    vectors, levels = [], []
    for i in range(len(boxes)):
        for box in boxes[i]:
            level = level_of(box, len(maps), base)
            vectors.append(pool_rdm(maps[level][i], box, strides[level]))
            levels.append(level)
    if not vectors:
        return maps[0].new_zeros((0, maps[0].shape[1])), levels
    return torch.stack(vectors), levels


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products of two (M,)."""
    total = a[0] * 0
    for c in range(len(a)):
        total = total + a[c] * b[c]
    return total


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> / (|a| |b|); 0 when either vector is 0."""
    square_a, square_b = dot(a, a), dot(b, b)
    if _number(square_a) == 0 or _number(square_b) == 0:
        return dot(a, b) * 0
    return dot(a, b) / (square_a.sqrt() * square_b.sqrt())


# ------------------------------------------------------------------------------------------------------- prototypes


def normalised(vectors: Tensor) -> Tensor:
    """Every row of (N, M) over its own length; a row of zeros stays."""
    rows = []
    for v in vectors.detach():
        length = dot(v, v).sqrt()
        rows.append(v / length if _number(length) > 0 else v)
    return torch.stack(rows)


def density(vectors: Tensor, width: float = 0.1) -> list[float]:
    """rho_i = sum over all j, itself among them, of exp(-((1 - cos_ij) / width)^2)."""
    rho = []
    for i in range(len(vectors)):
        total = 0.0
        for j in range(len(vectors)):
            total += math.exp(-(((1 - _number(cosine(vectors[i], vectors[j]))) / width) ** 2))
        rho.append(total)
    return rho


def density_bound(values: Sequence[float], share: float) -> float:
    """The entry at place int(share * n) of the sorted values, counted from 0."""
    return sorted(values)[int(share * len(values))]


def dense_instances(student: Tensor, teacher: Tensor, share: float = 0.4, width: float = 0.1) -> list[int]:
    """The instances whose density is strictly above the bound in both spaces. May be none."""
    rho_student, rho_teacher = density(student, width), density(teacher, width)
    bound_student, bound_teacher = density_bound(rho_student, share), density_bound(rho_teacher, share)
    return [i for i in range(len(student)) if rho_student[i] > bound_student and rho_teacher[i] > bound_teacher]


def pursuit_weights(a: Tensor, b: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The two coefficients of one instance on one candidate, tied to each other by alpha."""
    w_a = (alpha * (a + b) + a) / (1 + 2 * alpha)
    w_b = (alpha * (a + b) + b) / (1 + 2 * alpha)
    return w_a, w_b


def candidate_error(
    residual_a: Tensor, residual_b: Tensor, u: Tensor, v: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What would be left if (u, v) were picked: the error, and the residuals in both spaces."""
    error = residual_a.sum() * 0
    next_a, next_b = [], []
    for n in range(len(residual_a)):
        w_a, w_b = pursuit_weights(dot(u, residual_a[n]), dot(v, residual_b[n]), alpha)
        left_a, left_b = residual_a[n] - w_a * u, residual_b[n] - w_b * v
        error = error + dot(left_a, left_a) + dot(left_b, left_b) + alpha * (w_a - w_b) ** 2
        next_a.append(left_a)
        next_b.append(left_b)
    return error, torch.stack(next_a), torch.stack(next_b)


def matching_pursuit(
    targets_a: Tensor, targets_b: Tensor, candidates: Sequence[int], count: int, alpha: float = 10.0
) -> tuple[list[int], list[float]]:
    """Picks `count` of the candidates, one after the other, and the error after each pick.

    Args:
        targets_a: (N, M_a) unit vectors of all instances.
        targets_b: (N, M_b), the same instances in the other space.
        candidates: numbers of the instances that may be picked; one may be picked more than once, the first wins ties.
        count: how many to pick.
        alpha: how strongly the two coefficients are tied.
    """
    residual_a, residual_b = targets_a.detach().clone(), targets_b.detach().clone()
    picks, errors = [], []
    for _ in range(count):
        best, best_error, best_a, best_b = -1, math.inf, residual_a, residual_b
        for k in candidates:
            error, left_a, left_b = candidate_error(
                residual_a, residual_b, targets_a[k].detach(), targets_b[k].detach(), alpha
            )
            if _number(error) < best_error:
                best, best_error, best_a, best_b = k, _number(error), left_a, left_b
        if best < 0:
            raise ValueError("there is no candidate to pick")
        residual_a, residual_b = best_a, best_b
        picks.append(best)
        errors.append(best_error)
    return picks, errors


def prototypes(
    student: Tensor,
    teacher: Tensor,
    *,
    count: int = 10,
    alpha: float = 10.0,
    share: float = 0.4,
    width: float = 0.1,
) -> tuple[Tensor, Tensor, list[int]]:
    """The prototypes of one class on one level: student (count, M_s), teacher (count, M_t), instances picked.

    Targets are all instances, candidates the dense ones; what is stored is the pooled vector, not the unit one.
    """
    candidates = dense_instances(student, teacher, share, width)
    picks, _ = matching_pursuit(normalised(student), normalised(teacher), candidates, count, alpha)
    return student.detach()[picks], teacher.detach()[picks], picks


# ------------------------------------------------------------------------------------------------------ reliability


def reliability(
    student: Tensor,
    teacher: Tensor,
    labels: Sequence[int],
    student_table: Tensor,
    teacher_table: Tensor,
    classes: Sequence[int],
    absent: float | None = None,
) -> Tensor:
    """omega (N,) of instances of one level, clamped at 0 and detached.

    1 - | max cos(f_s, P_s[p]) - max cos(f_t, P_t[p]) |, both maxima over the prototypes p of the instance's class.

    Args:
        student: (N, M_s) vectors of the neck.
        teacher: (N, M_t).
        labels: N classes.
        student_table: (P, M_s) prototypes of the level.
        teacher_table: (P, M_t).
        classes: the class of each prototype.
        absent: omega of an instance whose class has no prototype; None makes that an error.
    """
    omega = student.new_zeros(len(student))
    for n in range(len(student)):
        own = [p for p in range(len(classes)) if int(classes[p]) == int(labels[n])]
        if not own:
            if absent is None:
                raise ValueError(f"class {int(labels[n])} has no prototype")
            omega[n] = absent
            continue
        best_student = max(_number(cosine(student[n], student_table[p])) for p in own)
        best_teacher = max(_number(cosine(teacher[n], teacher_table[p])) for p in own)
        omega[n] = max(1 - abs(best_student - best_teacher), 0.0)
    return omega.detach()


# ------------------------------------------------------------------------------------------------------ point losses


def masks(
    shapes: Sequence[tuple[int, int]],
    boxes: Sequence[Tensor],
    omega: Sequence[Tensor],
    strides: Sequence[float],
    base: float = 56.0,
) -> list[Tensor]:
    """One (B, h, w) per level: every box fills its cells on its own level with its omega.

    Later boxes overwrite earlier ones. A box that covers no cell takes the one at its near corner, where the greater
    of the old and the new value stays.

    Args:
        shapes: (h, w) of every level.
        boxes: one (G_i, 4) per image.
        omega: one (G_i,) per image.
        strides: one per level.
        base: see `level_of`.
    """
    dtype = omega[0].dtype
    out = [torch.zeros((len(boxes), h, w), dtype=dtype) for h, w in shapes]
    for i in range(len(boxes)):
        for g in range(len(boxes[i])):
            level = level_of(boxes[i][g], len(shapes), base)
            height, width = shapes[level]
            x1, y1, x2, y2 = (math.trunc(float(v) / strides[level]) for v in boxes[i][g])
            left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
            value = _number(omega[i][g])
            if left >= right or top >= bottom:
                row, column = min(top, height - 1), min(left, width - 1)
                out[level][i, row, column] = max(_number(out[level][i, row, column]), value)
                continue
            for row in range(top, bottom):
                for column in range(left, right):
                    out[level][i, row, column] = value
    return out


def point_of_level(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """sum mask (S - T)^2 / max(1, 2 sum mask), the mask (B, h, w) counted once per channel of (B, M, h, w)."""
    teacher = teacher.detach()
    total = student.sum() * 0
    elements = 0.0
    for b in range(student.shape[0]):
        for row in range(student.shape[2]):
            for column in range(student.shape[3]):
                weight = _number(mask[b, row, column])
                for c in range(student.shape[1]):
                    total = total + weight * (student[b, c, row, column] - teacher[b, c, row, column]) ** 2
                    elements += weight
    return total / max(1.0, 2 * elements)


def point_losses(
    student: Sequence[Tensor], teacher: Sequence[Tensor], level_masks: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Foreground and background, unweighted: both averaged over the levels.

    Background is every cell whose mask is 0, so also the cells of a box whose omega is 0.
    """
    foreground = student[0].sum() * 0
    background = student[0].sum() * 0
    for s, t, mask in zip(student, teacher, level_masks, strict=True):
        foreground = foreground + point_of_level(s, t, mask) / len(student)
        background = background + point_of_level(s, t, (mask == 0).to(mask.dtype)) / len(student)
    return foreground, background


# -------------------------------------------------------------------------------------------------------- soft label


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


def soft_label(
    student: Tensor, teacher: Tensor, omega: Tensor, temperature: float = 2.0, kind: str = "softmax"
) -> Tensor:
    """Mean over positives of omega_k T^2 / classes * KL(teacher || student), unweighted.

    Args:
        student: (K, classes) logits of the positives; a softmax head counts background among the classes.
        teacher: (K, classes).
        omega: (K,).
        temperature: T.
        kind: "softmax", or "sigmoid" for a Bernoulli KL per class.
    """
    teacher = teacher.detach()
    total = student.sum() * 0
    for k in range(len(student)):
        if kind == "softmax":
            divergence = kl(list(softmax(teacher[k] / temperature)), list(softmax(student[k] / temperature)))
        elif kind == "sigmoid":
            divergence = student[k].sum() * 0
            for c in range(student.shape[1]):
                p, q = sigmoid(teacher[k, c] / temperature), sigmoid(student[k, c] / temperature)
                divergence = divergence + kl([p, 1 - p], [q, 1 - q])
        else:
            raise ValueError(f"kind is {kind!r}; it is softmax or sigmoid")
        total = total + _number(omega[k]) * temperature**2 * divergence / student.shape[1]
    return total / len(student) if len(student) else total


# -------------------------------------------------------------------------------------------------- global knowledge


def smooth_l1(difference: Tensor) -> Tensor:
    """Half the square below 1, the absolute value less a half from there on."""
    size = difference.abs()
    return difference**2 / 2 if _number(size) < 1 else size - 0.5


def global_pair(
    student: Tensor,
    teacher: Tensor,
    omega: Tensor,
    student_table: Tensor,
    teacher_table: Tensor,
    factor: float = 5.0,
) -> Tensor:
    """One level's pair term: factor * mean over instances and prototypes of smooth-L1(D_s, D_t).

    D = cos(f, p) * omega, over the prototypes of all classes.

    Args:
        student: (N, M_s) vectors of the neck, with their graph.
        teacher: (N, M_t).
        omega: (N,).
        student_table: (P, M_s).
        teacher_table: (P, M_t).
        factor: 5 in the released code.
    """
    teacher, student_table, teacher_table = teacher.detach(), student_table.detach(), teacher_table.detach()
    total = student.sum() * 0
    for n in range(len(student)):
        for p in range(len(student_table)):
            d_student = cosine(student[n], student_table[p]) * _number(omega[n])
            d_teacher = cosine(teacher[n], teacher_table[p]) * _number(omega[n])
            total = total + smooth_l1(d_student - d_teacher)
    pairs = len(student) * len(student_table)
    return factor * total / pairs if pairs else total


def global_every_level(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    boxes: Sequence[Tensor],
    labels: Sequence[int],
    strides: Sequence[float],
    tables: tuple[Sequence[Tensor], Sequence[Tensor]],
    classes: Sequence[int],
    factor: float = 5.0,
) -> Tensor:
    """The released pair term of a step: every box on every level, a mean per level, the levels summed.

    Args:
        student: the neck, one (B, M_s, h, w) per level, not adapted, with its graph.
        teacher: one (B, M_t, h, w) per level.
        boxes: one (G_i, 4) per image.
        labels: the class of each box, image by image.
        strides: one per level.
        tables: one (P, M_s) per level of the student's prototypes, and one (P, M_t) per level of the teacher's.
        classes: the class of each prototype.
        factor: 5 in the released code.
    """
    total = sum((level.sum() * 0 for level in student), student[0].sum() * 0)
    for index, stride in enumerate(strides):
        rows_s, rows_t = [], []
        for i in range(len(boxes)):
            for box in boxes[i]:
                rows_s.append(pool_rdm(student[index][i], box, stride))
                rows_t.append(pool_rdm(teacher[index][i], box, stride))
        if not rows_s:
            continue
        f_s, f_t = torch.stack(rows_s), torch.stack(rows_t)
        omega = reliability(f_s, f_t, labels, tables[0][index], tables[1][index], classes)
        total = total + global_pair(f_s, f_t, omega, tables[0][index], tables[1][index], factor)
    return total


def global_squared(student: Tensor, teacher: Tensor, omega: Tensor) -> Tensor:
    """1 / (2 N) * sum over instances i and prototypes j of omega_ij (alpha_s,ij - alpha_t,ij)^2.

    The squared form is known only by this line: how the projection coefficients alpha and the pairwise reliability
    are computed is not. So both are given.

    Args:
        student: (N, P) coefficients.
        teacher: (N, P).
        omega: (N, P), or (N,) for one value per instance.
    """
    teacher = teacher.detach()
    total = student.sum() * 0
    for i in range(student.shape[0]):
        for j in range(student.shape[1]):
            weight = _number(omega[i] if omega.dim() == 1 else omega[i, j])
            total = total + weight * (student[i, j] - teacher[i, j]) ** 2
    return total / (2 * len(student)) if len(student) else total


def attenuation(epoch: int, epochs: int) -> float:
    """The factor of every term but the soft label, `epoch` counted from 0."""
    return 1 - epoch / epochs
