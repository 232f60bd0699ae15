"""A slow, literal attention transfer, mean form: one loop per sum, nothing shared with the production code.

"Paying More Attention to Attention", ICLR 2017. Maps are lists with one (B, M, h, w) per level; the channel counts of
student and teacher may differ, there is no adapter. Autograd runs through the explicit arithmetic, in the dtype of the
input; the teacher is detached. It imports nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def attention(sample: Tensor, eps: float = 1e-12) -> Tensor:
    """Q of one (M, h, w): the mean over channels of the squares, as a vector (h w,), over its norm (at least eps)."""
    channels = sample.shape[0]
    energy = sample[0].reshape(-1) * 0
    for m in range(channels):
        energy = energy + sample[m].reshape(-1) ** 2
    energy = energy / channels
    squares = energy.sum() * 0
    for value in energy:
        squares = squares + value**2
    if float(squares.detach()) <= eps**2:
        return energy / eps
    return energy / squares.sqrt()


def at_of_level(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean over samples and positions of (Q_s - Q_t)^2."""
    t = teacher.detach()
    batch, positions = t.shape[0], t.shape[2] * t.shape[3]
    total = student.sum() * 0
    for b in range(batch):
        q_student, q_teacher = attention(student[b]), attention(t[b])
        for k in range(positions):
            total = total + (q_student[k] - q_teacher[k]) ** 2
    return total / (batch * positions)


def at(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """The sum over the levels of `at_of_level`, unweighted."""
    total = student[0].sum() * 0
    for s, t in zip(student, teacher, strict=True):
        total = total + at_of_level(s, t)
    return total
