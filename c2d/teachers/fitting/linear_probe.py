"""Logistic regression on the features of a frozen network, solved by L-BFGS in double precision.

The objective is that of the training by steps (`c2d.teachers.crop_classifier`), so that the logits keep both meanings,
softmax and sigmoid, and a norm of the coefficients:

    J(V, b) = w_ce mean_k CE(softmax z_k, y_k) + w_bce mean_kc BCE(sigmoid z_kc, [c = y_k])
              + l2 / 2 (||V||^2 + 0.01 ||b||^2)
    z_k = V (x_k - m) / s + b

m and s are the mean and the standard deviation of each feature, so that one l2 fits any network, and features of very
different sizes do not slow the solver. The small penalty of the bias keeps that of a class without crops finite. The
solution is returned as a layer on the raw features: W = V / s, b - W m. J is strictly convex: there is one solution,
whatever the start. Crops are read in parts and in a fixed order, so that a CPU gives equal bits every time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.core.errors import RunError
from c2d.specs.schedule import CropLoss, Probe
from c2d.teachers.fitting.joint_loss import joint_loss

PART = 8192
"""Crops that are converted to double precision together; bounds memory."""
BIAS_SHARE = 0.01
"""Penalty of the bias as a share of that of the coefficients."""
CONSTANT = 1e-7
"""A feature whose standard deviation is below this share of its mean is constant, and gets no coefficient."""


@dataclass(frozen=True)
class ProbeFacts:
    """What result.json records about a solution.

    Attributes:
        crops: number of rows, with the mirrored ones.
        features: number of features.
        iterations: of L-BFGS.
        gradient: largest absolute entry of the gradient of J at the solution.
        converged: whether that is at most the tolerance.
        objective: J at the solution.
        train_top1: share of the rows whose largest logit is their class, 0-1.
        absent: classes without a row.
    """

    crops: int
    features: int
    iterations: int
    gradient: float
    converged: bool
    objective: float
    train_top1: float
    absent: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class LinearLayer:
    """A solution: weight (C, D) and bias (C,), fp64, on raw features."""

    weight: Tensor
    bias: Tensor


def solve(
    features: Tensor, labels: Tensor, classes: int, probe: Probe, loss: CropLoss
) -> tuple[LinearLayer, ProbeFacts]:
    """Minimise J.

    Args:
        features: (K, D) fp32 or fp64.
        labels: (K,) long, on the same device.
        classes: C.
        probe: l2 and the limits of the solver.
        loss: weights of the two cross-entropies.

    Raises:
        RunError: there is no row, or a feature is not finite.
    """
    if len(labels) == 0:
        raise RunError("no box of the training images can be cropped; check the data set: c2d data check", "data")
    mean, std = _moments(features)
    if not bool((mean.isfinite() & std.isfinite()).all()):
        raise RunError("a feature is not finite; check the weights that `init` names", "nan")
    std = torch.where(std <= CONSTANT * mean.abs(), torch.inf, std)
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=probe.max_iterations,
        max_eval=2 * probe.max_iterations,
        tolerance_grad=probe.tolerance,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> float:
        optimizer.zero_grad()
        total = probe.l2 / 2 * (weight.square().sum() + BIAS_SHARE * bias.square().sum())
        total.backward()
        value = float(total.detach())
        for x, y in zip(features.split(PART), labels.split(PART), strict=True):
            raw = _raw_layer(weight, bias, mean, std)
            term = _weighted_loss(F.linear(x.double(), raw.weight, raw.bias), y, loss) * (len(y) / len(labels))
            term.backward()
            value += float(term.detach())
        return value

    optimizer.step(objective)
    value = objective()
    gradient = max(float(part.grad.abs().max()) for part in (weight, bias) if part.grad is not None)
    with torch.no_grad():
        layer = _raw_layer(weight.detach(), bias.detach(), mean, std)
        parts = zip(features.split(PART), labels.split(PART), strict=True)
        right = sum(int((F.linear(x.double(), layer.weight, layer.bias).argmax(1) == y).sum()) for x, y in parts)
    iterations = int(next(iter(optimizer.state.values()))["n_iter"])
    absent = classes - len(torch.unique(labels))
    facts = ProbeFacts(
        len(labels), features.shape[1], iterations, gradient, gradient <= probe.tolerance, value,
        right / len(labels), absent,
    )  # fmt: skip
    return layer, facts


def _weighted_loss(logits: Tensor, labels: Tensor, loss: CropLoss) -> Tensor:
    ce, bce = joint_loss(logits, labels)
    return loss.ce * ce + loss.bce * bce


def _raw_layer(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> LinearLayer:
    """Convert coefficients of standardised features to those of raw ones."""
    raw = weight / std
    return LinearLayer(raw, bias - raw @ mean)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) of each feature, fp64."""
    parts = features.split(PART)
    mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / len(features)
    squares = torch.stack([(part.double() - mean).square().sum(0) for part in parts]).sum(0)
    return mean, (squares / len(features)).sqrt()
