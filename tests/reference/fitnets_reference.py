"""A slow, literal FitNets hint for detectors: one loop per sum, nothing shared with the production code.

"FitNets: Hints for Thin Deep Nets", ICLR 2015, used on the whole map of every neck level. Maps are lists with one
(B, M, h, w) per level; the student's are already adapted. Autograd runs through the explicit arithmetic, in the dtype
of the input; the teacher is detached. It imports nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def hint_of_level(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum of (S - T)^2 over all elements, divided by 2 N with N = B M h w."""
    t = teacher.detach()
    batch, channels, height, width = t.shape
    total = student.sum() * 0
    for b in range(batch):
        for m in range(channels):
            for y in range(height):
                for x in range(width):
                    total = total + (student[b, m, y, x] - t[b, m, y, x]) ** 2
    return total / (2 * batch * channels * height * width)


def hint(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """The mean over the levels of `hint_of_level`: 0.5 for a difference of one everywhere."""
    total = student[0].sum() * 0
    for s, t in zip(student, teacher, strict=True):
        total = total + hint_of_level(s, t)
    return total / len(student)


def normalised_sample(sample: Tensor, eps: float = 1e-12) -> Tensor:
    """One (M, h, w), flattened and divided by its own Euclidean norm (at least `eps`)."""
    flat = sample.reshape(-1)
    squares = flat.sum() * 0
    for value in flat:
        squares = squares + value**2
    if float(squares.detach()) <= eps**2:
        return flat / eps
    return flat / squares.sqrt()


def normalised_hint_of_level(student: Tensor, teacher: Tensor, *, per_element: bool = False) -> Tensor:
    """Squared distance of L2-normalised flattened samples, mean over the batch.

    By default a sample's squares are summed (batch mean: 2 - 2 cos). `per_element` divides by M h w as well.
    """
    t = teacher.detach()
    total = student.sum() * 0
    for b in range(t.shape[0]):
        a, c = normalised_sample(student[b]), normalised_sample(t[b])
        of_sample = student.sum() * 0
        for k in range(len(c)):
            of_sample = of_sample + (a[k] - c[k]) ** 2
        total = total + (of_sample / len(c) if per_element else of_sample)
    return total / t.shape[0]


def normalised_hint(student: Sequence[Tensor], teacher: Sequence[Tensor], *, per_element: bool = False) -> Tensor:
    """The mean over the levels of `normalised_hint_of_level`."""
    total = student[0].sum() * 0
    for s, t in zip(student, teacher, strict=True):
        total = total + normalised_hint_of_level(s, t, per_element=per_element)
    return total / len(student)
