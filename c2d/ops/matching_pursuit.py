"""Joint matching pursuit: select a few instances of a class that represent all of them in two spaces (GKD).

Space a is the student's, space b the teacher's; row n of both is the same instance. Written in the gain form: the
error reduction of a pick follows from inner products alone, so a step costs O(K N) and not O(K M N).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH = 0.1
"""Width of the Gaussian in the density, in 1 - cos; as released."""
SPARSE_SHARE = 0.4
"""Candidates have a density above the entry `int(0.4 N)` of the sorted densities, as released."""


def select_prototypes(student: Tensor, teacher: Tensor, count: int = 10, alpha: float = 10.0) -> Tensor:
    """Select the instances that become prototypes.

    All instances are targets, the dense ones are candidates. Where none is dense in both spaces (a single instance, or
    spaces that disagree), all are candidates: ours.

    Args:
        student: (N, M_s) feature vectors, N > 0.
        teacher: (N, M_t) feature vectors of the same instances.
        count: number of prototypes.
        alpha: see `joint_matching_pursuit`.

    Returns:
        (count,) long, row indices; an index may occur twice.
    """
    # The closed form of the coefficients holds for unit vectors only.
    unit_a, unit_b = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    dense = is_dense(unit_a) & is_dense(unit_b)
    candidates = (dense | ~dense.any()).nonzero().squeeze(1)
    return joint_matching_pursuit(unit_a, unit_b, candidates, count, alpha)


def density(unit: Tensor) -> Tensor:
    """Compute rho_i = sum over j of exp(-((1 - cos_ij) / 0.1)^2) of unit vectors (N, M): (N,)."""
    return (-((1 - unit @ unit.T) / WIDTH).square()).exp().sum(1)


def is_dense(unit: Tensor) -> Tensor:
    """(N,) bool: whether the density of unit vectors (N, M) is strictly above the entry int(0.4 N) of all, sorted."""
    rho = density(unit)
    # An entry and not an interpolated quantile: with few instances the two select others.
    return rho > rho.sort().values[int(SPARSE_SHARE * len(rho))]


def joint_matching_pursuit(
    targets_a: Tensor, targets_b: Tensor, candidates: Tensor, count: int, alpha: float
) -> Tensor:
    """Pick candidates one by one; each reduces the error of all targets together the most.

    The error left after pick k is sum_n |r_a,n - w_a u_k|^2 + |r_b,n - w_b v_k|^2 + alpha (w_a - w_b)^2, with residuals
    r that begin as the targets.

    Args:
        targets_a, targets_b: (N, M_a) and (N, M_b) unit vectors.
        candidates: (K,) long, rows that may be picked, also more than once.
        count: number of picks.
        alpha: weight of the squared difference between the coefficients of the two spaces.

    Returns:
        (count,) long, row indices in the order picked.
    """
    u, v = targets_a[candidates], targets_b[candidates]
    # a[k, n] = <u_k, r_a,n>: a pick changes residuals along u_k alone, so their products change by its Gram column.
    a, b, gram_a, gram_b = u @ targets_a.T, v @ targets_b.T, u @ u.T, v @ v.T
    picks = []
    for _ in range(count):
        # No candidate is excluded after a pick, as released.
        k = gain(a, b, alpha).argmax()
        w_a, w_b = coefficients(a[k], b[k], alpha)
        a, b = a - gram_a[:, k, None] * w_a, b - gram_b[:, k, None] * w_b
        picks.append(k)
    return candidates[torch.stack(picks)]


def gain(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """Error reduction (K,) of each candidate, from its products (K, N) with the residuals of both spaces."""
    # The error of `joint_matching_pursuit` at its optimal w_a, w_b is a constant minus this.
    return (a.square() + b.square() + alpha * (a + b).square()).sum(1) / (1 + 2 * alpha)


def coefficients(a: Tensor, b: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Coefficients w_a, w_b (N,) of smallest error, from products (N,) of one candidate with all residuals."""
    both = alpha * (a + b)
    return (both + a) / (1 + 2 * alpha), (both + b) / (1 + 2 * alpha)
