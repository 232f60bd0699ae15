"""The linear probe: by hand, against a minimiser of SciPy on a literal objective, and on odd features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from c2d.core.errors import RunError
from c2d.specs.schedule import CropLoss, Probe
from c2d.teachers.fitting import linear_probe
from c2d.teachers.fitting.linear_probe import solve

TIGHT: dict[str, Any] = {"tolerance": 1e-8}


def test_two_points_by_hand() -> None:
    # x = 3 and 7 are -1 and 1 when standardised. By symmetry V = (-v, v), and J = log(1 + exp(-2 v)) + l2 v^2, whose
    # derivative is 0 where l2 v = 1 / (1 + exp(2 v)): with this l2 at v = 1. W = V / 2, b = -5 W.
    probe = Probe(l2=1 / (1 + math.e**2), **TIGHT)
    layer, facts = solve(torch.tensor([[3.0], [7.0]]), torch.tensor([0, 1]), 2, probe, CropLoss(ce=1, bce=0))
    torch.testing.assert_close(layer.weight, torch.tensor([[-0.5], [0.5]], dtype=torch.float64))
    torch.testing.assert_close(layer.bias, torch.tensor([2.5, -2.5], dtype=torch.float64))
    assert facts.objective == pytest.approx(math.log(1 + math.exp(-2)) + probe.l2)
    assert (facts.crops, facts.features, facts.train_top1, facts.absent, facts.converged) == (2, 1, 1.0, 0, True)


def problem(count: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features of very different sizes, and three classes that overlap."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    x = torch.randn(count, 4, generator=generator) + torch.nn.functional.one_hot(labels, 4)
    return x * torch.tensor([1.0, 100.0, 0.01, 5.0]) + torch.tensor([0.0, -300.0, 1.0, 2.0]), labels


def literal(
    x: np.ndarray, y: np.ndarray, classes: int, l2: float, ce: float, bce: float
) -> tuple[np.ndarray, np.ndarray]:
    """W (C, D) and b (C,) on raw features by BFGS, from the formulas alone."""
    mean, std = x.mean(0), x.std(0)
    standard, count = (x - mean) / std, len(y)
    truth = np.eye(classes)[y]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        v, b = flat[:-classes].reshape(classes, -1), flat[-classes:]
        z = standard @ v.T + b
        exp = np.exp(z - z.max(1, keepdims=True))
        soft, sigmoid = exp / exp.sum(1, keepdims=True), 1 / (1 + np.exp(-z))
        value = -ce * np.log((soft * truth).sum(1)).mean()
        value -= bce * (truth * np.log(sigmoid) + (1 - truth) * np.log(1 - sigmoid)).mean()
        slope = ce * (soft - truth) / count + bce * (sigmoid - truth) / (count * classes)
        value += l2 / 2 * ((v**2).sum() + 0.01 * (b**2).sum())
        return value, np.concatenate([(slope.T @ standard + l2 * v).ravel(), slope.sum(0) + 0.01 * l2 * b])

    start = np.zeros(classes * (x.shape[1] + 1))
    found = scipy.optimize.minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-10}).x
    w = found[:-classes].reshape(classes, -1) / std
    return w, found[-classes:] - w @ mean


@pytest.mark.parametrize(("ce", "bce"), [(1.0, 1.0), (0.3, 2.0), (0.0, 1.0)])
def test_the_solution_is_that_of_scipy(ce: float, bce: float) -> None:
    x, y = problem()
    layer, facts = solve(x, y, 3, Probe(l2=0.01, **TIGHT), CropLoss(ce=ce, bce=bce))
    w, b = literal(x.double().numpy(), y.numpy(), 3, 0.01, ce, bce)
    expected = x.double().numpy() @ w.T + b
    np.testing.assert_allclose(torch.nn.functional.linear(x.double(), layer.weight, layer.bias), expected, atol=1e-6)
    np.testing.assert_allclose(layer.weight * x.double().std(0), w * x.double().std(0).numpy(), atol=1e-6)
    assert facts.converged


def test_equal_bits_every_time_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem()
    first, second = (solve(x, y, 3, Probe(), CropLoss())[0] for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    monkeypatch.setattr(linear_probe, "PART", 7)
    parted = solve(x, y, 3, Probe(**TIGHT), CropLoss())[0]
    whole = solve(x, y, 3, Probe(**TIGHT), CropLoss())[0]
    torch.testing.assert_close(parted.weight, whole.weight, rtol=1e-6, atol=1e-8)


def test_a_constant_feature_and_an_absent_class() -> None:
    x, y = problem()
    x[:, 1] = 4.0
    layer, facts = solve(x, y, 4, Probe(), CropLoss())
    assert (layer.weight[:, 1] == 0).all()
    assert layer.weight.isfinite().all()
    assert (facts.absent, facts.converged) == (1, True)
    assert -20 < layer.bias[3] - layer.bias[:3].mean() < 0
    assert not (torch.nn.functional.linear(x.double(), layer.weight, layer.bias).argmax(1) == 3).any()


def test_a_solver_that_is_stopped_says_so() -> None:
    x, y = problem()
    facts = solve(x, y, 3, Probe(max_iterations=2), CropLoss())[1]
    assert not facts.converged
    assert facts.iterations == 2


def test_features_that_cannot_be_fitted() -> None:
    x, y = problem()
    with pytest.raises(RunError, match="no box of the training images"):
        solve(x[:0], y[:0], 3, Probe(), CropLoss())
    x[3, 2] = torch.nan
    with pytest.raises(RunError, match="not finite"):
        solve(x, y, 3, Probe(), CropLoss())
