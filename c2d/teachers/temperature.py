"""Calibration of a classifier: one temperature by which its logits are divided.

Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017), section 4.2: the temperature with the smallest
negative log likelihood on crops that neither trained the classifier nor evaluate it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LIMITS = (0.05, 20.0)
"""Smallest and largest temperature: on crops that are all classified rightly the likelihood has no maximum."""
MAX_ITERATIONS = 200


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature with the smallest negative log likelihood by L-BFGS over its logarithm, in fp64.

    Args:
        logits: (n, C), n at least 1.
        labels: (n,) long.

    Returns:
        The temperature, inside `LIMITS`.
    """
    z, y = logits.detach().double().cpu(), labels.cpu()
    log_tau = torch.zeros((), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [log_tau], max_iter=MAX_ITERATIONS, tolerance_grad=1e-10, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )
    low, high = (math.log(limit) for limit in LIMITS)

    def negative_log_likelihood() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(z * torch.exp(-log_tau.clamp(low, high)), y)
        loss.backward()
        return loss

    solver.step(negative_log_likelihood)
    return float(torch.exp(log_tau.detach().clamp(low, high)))
