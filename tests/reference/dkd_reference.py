"""A slow, literal DKD: row by row and class by class, nothing shared with the production code.

"Decoupled Knowledge Distillation", CVPR 2022. It imports nothing of the package it checks.
"""

from __future__ import annotations

import torch
from torch import Tensor


def shares(z: Tensor) -> Tensor:
    """Plain exponentials over their sum."""
    e = z.exp()
    return e / e.sum()


def divergence(p: list[Tensor], q: list[Tensor]) -> Tensor:
    """Sum of p (log p - log q)."""
    return torch.stack([a * (a.log() - b.log()) for a, b in zip(p, q, strict=True)]).sum()


def target_part(z_s: Tensor, z_t: Tensor, y: int, T: float) -> Tensor:
    """T^2 KL of "it is class y or not", of one row."""
    p_s, p_t = shares(z_s / T)[y], shares(z_t.detach() / T)[y]
    return T**2 * divergence([p_t, 1 - p_t], [p_s, 1 - p_s])


def other_part(z_s: Tensor, z_t: Tensor, y: int, T: float) -> Tensor:
    """T^2 KL of the classes beside y, each divided by what they have together, of one row."""
    beside = [k for k in range(len(z_s)) if k != y]
    q_s, q_t = shares(z_s[beside] / T), shares(z_t.detach()[beside] / T)
    return T**2 * divergence(list(q_t), list(q_s))


def ordinary_kd(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    """T^2 KL of the whole softmax, of one row."""
    return T**2 * divergence(list(shares(z_t.detach() / T)), list(shares(z_s / T)))


def terms(student: Tensor, teacher: Tensor, labels: Tensor, T: float = 1.0) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD: means over the rows."""
    rows = list(zip(student, teacher, labels.tolist(), strict=True))
    target = torch.stack([target_part(z_s, z_t, y, T) for z_s, z_t, y in rows]).sum() / len(rows)
    others = torch.stack([other_part(z_s, z_t, y, T) for z_s, z_t, y in rows]).sum() / len(rows)
    return target, others
