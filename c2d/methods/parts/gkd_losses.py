"""Losses of GKD: features under the masks, soft labels, and the global term of one level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.detectors.heads import LogitKind
from c2d.ops.masks import square_distance


def feature_loss(maps: Sequence[tuple[Tensor, Tensor]], masks: Sequence[Tensor]) -> Tensor:
    """Compute fg or bg, the mean over levels.

    Args:
        maps: per level phi(S) and T, (B, M, h, w) each.
        masks: per level m, (B, h, w).

    Returns:
        A scalar.
    """
    per_level = []
    for (s, t), mask in zip(maps, masks, strict=True):
        total = (mask[:, None] * square_distance(s, t)).sum()
        per_level.append(total / (2 * s.shape[1] * mask.sum()).clamp(min=1))
    return torch.stack(per_level).mean()


def soft_label_loss(z_s: Tensor, z_t: Tensor, omega: Tensor, T: float, kind: LogitKind) -> Tensor:
    """Compute soft, the mean over positives of omega T^2 times the mean over classes of the divergence.

    Args:
        z_s, z_t: logits (K, classes) of student and teacher.
        omega: (K,).
        T: temperature.
        kind: softmax, or sigmoid for a Bernoulli divergence per class.

    Returns:
        A scalar; 0 without positives.
    """
    z_s, z_t = z_s / T, z_t.detach() / T
    if kind == "softmax":
        per_class = F.kl_div(z_s.log_softmax(1), z_t.log_softmax(1), reduction="none", log_target=True)
    else:
        p_t = z_t.sigmoid()
        per_class = F.binary_cross_entropy_with_logits(z_s, p_t, reduction="none")
        per_class = per_class - F.binary_cross_entropy_with_logits(z_t, p_t, reduction="none")
    return (omega * T**2 * per_class.mean(1)).sum() / max(len(omega), 1)


def global_loss(cos_s: Tensor, cos_t: Tensor, omega: Tensor, valid: Tensor) -> Tensor:
    """Mean over instances and valid (P,) prototypes of SmoothL1 of cosines (N, P) times omega (N,): one level."""
    trusted = omega[:, None] * valid
    total = F.smooth_l1_loss(cos_s * trusted, cos_t.detach() * trusted, reduction="sum")
    return total / (len(omega) * valid.sum()).clamp(min=1)
