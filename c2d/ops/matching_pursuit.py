"""Joint matching pursuit: the few instances of a class that represent all of them in two spaces. Pure functions.

Space a is the student's, space b the teacher's; row n of both is the same instance. Written in the gain form: what a
pick takes off the error follows from inner products alone, so a step costs K N numbers and not K M N.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH = 0.1
"""Width of the bell in the density, in 1 - cos."""
PERCENTILE = 0.4
"""Instances below this quantile of the density are no candidates."""


def prototypes(student: Tensor, teacher: Tensor, count: int = 10, alpha: float = 10.0) -> Tensor:
    """Which `count` of the N > 0 instances (N, M_s), (N, M_t) become prototypes: (count,) long; one may come twice.

    All instances are targets, the dense ones are candidates. Where none is dense in both spaces (a single instance, two
    spaces that contradict each other), all are candidates: ours.
    """
    unit_a, unit_b = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    dense = is_dense(unit_a) & is_dense(unit_b)
    candidates = (dense | ~dense.any()).nonzero().squeeze(1)
    return pursue(unit_a, unit_b, candidates, count, alpha)


def density(unit: Tensor) -> Tensor:
    """rho_i = sum over j of exp(-((1 - cos_ij) / 0.1)^2) of unit vectors (N, M): (N,)."""
    return (-((1 - unit @ unit.T) / WIDTH).square()).exp().sum(1)


def is_dense(unit: Tensor) -> Tensor:
    """(N,) bool: density strictly above its 40th percentile."""
    rho = density(unit)
    return rho > torch.quantile(rho, PERCENTILE)


def pursue(targets_a: Tensor, targets_b: Tensor, candidates: Tensor, count: int, alpha: float) -> Tensor:
    """(count,) long, in the order picked: each candidate takes the most off the error of all targets together.

    The error left after pick k is sum_n |r_a,n - w_a u_k|^2 + |r_b,n - w_b v_k|^2 + alpha (w_a - w_b)^2, with residuals
    r that begin as the targets.

    Args:
        targets_a, targets_b: (N, M_a) and (N, M_b) unit vectors.
        candidates: (K,) long, rows that may be picked, more than once too.
        alpha: how tightly the coefficients of the two spaces are tied.
    """
    u, v = targets_a[candidates], targets_b[candidates]
    # a[k, n] = <u_k, r_a,n>: a pick changes residuals along u_k alone, so their products change by its Gram column.
    a, b, gram_a, gram_b = u @ targets_a.T, v @ targets_b.T, u @ u.T, v @ v.T
    picks = []
    for _ in range(count):
        k = gain(a, b, alpha).argmax()
        w_a, w_b = coefficients(a[k], b[k], alpha)
        a, b = a - gram_a[:, k, None] * w_a, b - gram_b[:, k, None] * w_b
        picks.append(k)
    return candidates[torch.stack(picks)]


def gain(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """(K,): what each candidate takes off the error, from its products (K, N) with the residuals of both spaces."""
    return (a.square() + b.square() + alpha * (a + b).square()).sum(1) / (1 + 2 * alpha)


def coefficients(a: Tensor, b: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """w_a and w_b that leave the smallest error, of products (N,) of one candidate with all residuals."""
    both = alpha * (a + b)
    return (both + a) / (1 + 2 * alpha), (both + b) / (1 + 2 * alpha)
