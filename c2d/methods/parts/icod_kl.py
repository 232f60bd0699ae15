"""Divergences of L_kd-cls, between the classifier's logits of a ground-truth crop and the student's of a positive.

All are computed from logits. The released code adds 1e-10 to the probabilities, which caps their logarithm at 23.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kd_cls(z_s: Tensor, z_t: Tensor, T: float, kind: str) -> Tensor:
    """Compute the divergence of each positive.

    Args:
        z_s: the student's logits: softmax (K, C + 1), background last, or sigmoid (K, C).
        z_t: the teacher's logits (K, C) of its ground truth; detached.
        T: temperature.
        kind: softmax, sigmoid, or l1 for the second sigmoid form.

    Returns:
        (K,).
    """
    # The KL of half-precision probabilities underflows; fp64 stays fp64.
    z_s, z_t = z_s.to(torch.promote_types(z_s.dtype, torch.float32)), z_t.detach()
    return {"softmax": kl_softmax, "sigmoid": kl_bernoulli, "l1": kl_scores}[kind](z_s, z_t, T)


def kl_softmax(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    """(a) T^2 KL([sm(z_t/T), 0] || sm(z_s/T)): z_s (K, C+1) with the background last, z_t (K, C) -> (K,).

    The teacher's background probability is 0, so its term vanishes; the background stays in the student's normaliser.
    """
    log_p_t = F.log_softmax(z_t / T, dim=1)
    log_p_s = F.log_softmax(z_s / T, dim=1)[:, :-1]
    return T**2 * (log_p_t.exp() * (log_p_t - log_p_s)).sum(1)


def kl_bernoulli(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    """(b) T^2 times the mean over classes of KL(Bernoulli(sigma(z_t/T)) || Bernoulli(sigma(z_s/T))): (K, C) -> (K,)."""
    # KL as cross-entropy minus the teacher's entropy: stable from logits, and exactly 0 at equality.
    q_t = torch.sigmoid(z_t / T)
    cross = F.binary_cross_entropy_with_logits(z_s / T, q_t, reduction="none")
    entropy = F.binary_cross_entropy_with_logits(z_t / T, q_t, reduction="none")
    return T**2 * (cross - entropy).mean(1)


def kl_scores(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    """The released code's other sigmoid form: T^2 KL of sigmoid scores divided by their sum over classes -> (K,)."""
    log_s, log_t = F.logsigmoid(z_s / T), F.logsigmoid(z_t / T)
    log_p_s = log_s - log_s.logsumexp(1, keepdim=True)
    log_p_t = log_t - log_t.logsumexp(1, keepdim=True)
    return T**2 * (log_p_t.exp() * (log_p_t - log_p_s)).sum(1)
