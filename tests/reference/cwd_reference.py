"""A slow, literal channel-wise distillation: one loop per sum, nothing shared with the production code.

"Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021. Maps are lists with one (B, M, h, w) per level;
the student's are already adapted. Autograd runs through the explicit arithmetic, in the dtype of the input; the
teacher is detached. It imports nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def log_softmax(z: Tensor) -> Tensor:
    """z minus the log of the sum of the exponentials, for a vector; the maximum is taken out as a constant."""
    shifted = z - float(z.detach().max())
    total = shifted.sum() * 0
    for value in shifted:
        total = total + value.exp()
    return shifted - total.log()


def cross_entropy(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Minus the sum over the positions of p log q, with 0 log q = 0."""
    total = log_q.sum() * 0
    for a, b in zip(log_p, log_q, strict=True):
        if float(a.exp()) > 0:
            total = total - a.exp() * b
    return total


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The sum over the positions of p (log p - log q), with 0 log 0 = 0."""
    total = log_q.sum() * 0
    for a, b in zip(log_p, log_q, strict=True):
        if float(a.exp()) > 0:
            total = total + a.exp() * (a - b)
    return total


def cwd_of_level(student: Tensor, teacher: Tensor, *, tau: float = 1.0, form: str = "kl") -> Tensor:
    """tau^2 / (B M) times the sum over images and channels of KL (form "kl") or cross-entropy (form "ce")."""
    distance = {"kl": kl, "ce": cross_entropy}[form]
    t = teacher.detach()
    batch, channels = t.shape[:2]
    total = student.sum() * 0
    for b in range(batch):
        for m in range(channels):
            log_p = log_softmax(t[b, m].reshape(-1) / tau)
            log_q = log_softmax(student[b, m].reshape(-1) / tau)
            total = total + distance(log_p, log_q)
    return tau**2 / (batch * channels) * total


def cwd(student: Sequence[Tensor], teacher: Sequence[Tensor], *, tau: float = 1.0, form: str = "kl") -> Tensor:
    """The sum over the levels of `cwd_of_level`, unweighted."""
    total = student[0].sum() * 0
    for s, t in zip(student, teacher, strict=True):
        total = total + cwd_of_level(s, t, tau=tau, form=form)
    return total
