"""compat: deformable convolutions through mmcv's own functions, against loops; PAA's mixture, and TOOD's epoch."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("mmdet", reason="mmdet is not installed")

from c2d.detectors import compat

REPORT = compat.prepare()
ops = importlib.import_module("mmcv.ops")  # only now: without compiled ops it needs the stand-in
on_cpu = pytest.mark.skipif(REPORT.ext == "compiled", reason="the compiled op is compared on its own machine")


def value(plane: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Value of plane (H, W) at a real position by its four neighbours; cells outside are 0."""
    top, left = int(torch.floor(y)), int(torch.floor(x))
    total = plane.new_zeros(())
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total = total + plane[row, column] * (1 - (y - row).abs()) * (1 - (x - column).abs())
    return total


def literal_deform(
    x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, stride: int, pad: int, dilation: int, groups: int,
    deform_groups: int,
) -> Tensor:  # fmt: skip
    """Dai et al. 2017, equation 2, and with a mask Zhu et al. 2019, equation 1, one number at a time."""
    images, channels = x.shape[:2]
    outs, inner, kernel_h, kernel_w = weight.shape
    height, width = offset.shape[2:]
    points = kernel_h * kernel_w
    rows = []
    for n in range(images):
        for o in range(outs):
            first = o // (outs // groups) * inner  # the channels that this group of outputs sees
            for i in range(height):
                for j in range(width):
                    total = x.new_zeros(())
                    for c in range(inner):
                        part = (first + c) // (channels // deform_groups)  # the offsets of this channel
                        for k in range(points):
                            dy, dx = offset[n, 2 * (part * points + k) : 2 * (part * points + k) + 2, i, j]
                            y = i * stride - pad + k // kernel_w * dilation + dy
                            z = j * stride - pad + k % kernel_w * dilation + dx
                            term = weight[o, c, k // kernel_w, k % kernel_w] * value(x[n, first + c], y, z)
                            total = total + (term if mask is None else term * mask[n, part * points + k, i, j])
                    rows.append(total)
    return torch.stack(rows).view(images, outs, height, width)


def case(masked: bool, stride: int, pad: int, dilation: int, groups: int, deform: int, seed: int) -> list[Tensor]:
    """Input, offset, weight and mask in double precision; some offsets lead outside."""
    generator = torch.Generator().manual_seed(seed)
    kernel, side = (2, 3), 4
    size = [(side + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for k in kernel]
    shapes = [(2, 4, side, side), (2, 2 * deform * 6, *size), (2, 4 // groups, *kernel), (2, deform * 6, *size)]
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    return tensors if masked else tensors[:3]


@on_cpu
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("stride", "pad", "dilation", "groups", "deform"), [(1, 1, 1, 1, 1), (2, 0, 1, 2, 2), (1, 2, 2, 1, 2)]
)
def test_deformable_convolution(masked: bool, stride: int, pad: int, dilation: int, groups: int, deform: int) -> None:
    ours, theirs = (case(masked, stride, pad, dilation, groups, deform, seed=3) for _ in range(2))
    x, offset, weight, *mask = ours
    if masked:
        got = ops.modulated_deform_conv2d(x, offset, mask[0], weight, None, stride, pad, dilation, groups, deform)
    else:
        got = ops.deform_conv2d(x, offset, weight, stride, pad, dilation, groups, deform)
    a, b, c, *d = theirs
    wanted = literal_deform(a, b, c, d[0] if masked else None, stride, pad, dilation, groups, deform)
    torch.testing.assert_close(got, wanted, atol=1e-10, rtol=0)
    factor = torch.randn(got.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (got * factor).sum().backward()
    (wanted * factor).sum().backward()
    for mine, literal in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, literal.grad, atol=1e-10, rtol=0)


@on_cpu
def test_a_layer_with_a_bias_and_without_offsets_is_a_convolution() -> None:
    torch.manual_seed(0)
    layer = ops.ModulatedDeformConv2dPack(3, 4, 3, padding=1)  # its offsets begin at 0, its masks at 1/2
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 6, 5)
    plain = torch.nn.functional.conv2d(x, layer.weight / 2, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), plain, atol=1e-5, rtol=0)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((4,), 2.0 * 6 * 5))
    twice = layer.bias.grad.clone()
    layer(x).sum().backward()  # gradients add up, as autograd wants them
    torch.testing.assert_close(layer.bias.grad, 2 * twice)


@on_cpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_deformable_convolution_in_half_precision(dtype: torch.dtype) -> None:
    x, offset, weight = (tensor.detach().to(dtype).requires_grad_() for tensor in case(False, 1, 1, 1, 1, 1, seed=4))
    got = ops.deform_conv2d(x, offset, weight, 1, 1)
    assert got.dtype == dtype
    got.sum().backward()
    full = [tensor.detach().float().requires_grad_() for tensor in (x, offset, weight)]
    wanted = ops.deform_conv2d(*full, 1, 1)
    wanted.sum().backward()
    error = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(got.float(), wanted, atol=error, rtol=error)
    for mine, literal in zip((x, offset, weight), full, strict=True):
        assert mine.grad is not None
        assert literal.grad is not None
        torch.testing.assert_close(mine.grad.float(), literal.grad, atol=error, rtol=error)


# --------------------------------------------------------------------------------------------------- mixture


def literal_mixture(values: list[float], steps: int) -> tuple[list[float], list[float], list[float]]:
    """Weights, means and variances after `steps` rounds of expectation and maximisation, from PAA's first values."""
    weights, means, variances = [0.5, 0.5], [min(values), max(values)], [1.0, 1.0]
    for _ in range(steps):
        shares = []
        for x in values:
            odds = [
                w * math.exp(-((x - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
                for w, m, v in zip(weights, means, variances, strict=True)
            ]
            shares.append([odd / sum(odds) for odd in odds])
        counts = [sum(share[k] for share in shares) for k in range(2)]
        means = [sum(s[k] * x for s, x in zip(shares, values, strict=True)) / counts[k] for k in range(2)]
        variances = [
            sum(s[k] * (x - means[k]) ** 2 for s, x in zip(shares, values, strict=True)) / counts[k] + 1e-6
            for k in range(2)
        ]
        weights = [count / len(values) for count in counts]
    return weights, means, variances


def mixture(values: list[float], kind: str = "full", precisions: Any = ((1.0,), (1.0,))) -> compat.GaussianMixture:
    first = np.array([[min(values)], [max(values)]])
    fitted = compat.GaussianMixture(2, [0.5, 0.5], first, np.array(precisions), kind)
    return fitted.fit(np.array(values)[:, None])


def test_mixture_against_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.1, 0.2, 0.25, 0.3, 0.9, 1.0, 1.4]
    monkeypatch.setattr(compat.GaussianMixture, "TOLERANCE", 0.0)
    for steps in (1, 5):
        monkeypatch.setattr(compat.GaussianMixture, "STEPS", steps)
        fitted = mixture(values)
        for mine, wanted in zip((fitted.weights, fitted.means, fitted.variances), literal_mixture(values, steps),
                                strict=True):  # fmt: skip
            assert list(mine) == pytest.approx(wanted, rel=1e-9)


def test_mixture_separates_two_groups() -> None:
    values = [0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 5.3]
    fitted = mixture(values)
    column = np.array(values)[:, None]
    assert fitted.predict(column).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert fitted.weights == pytest.approx([3 / 7, 4 / 7])
    assert fitted.means == pytest.approx([0.1, 5.15])
    # ln(3/7) and the normal density at its mean, variance 2/300 + 1e-6
    assert fitted.score_samples(column)[1] == pytest.approx(
        math.log(3 / 7 / math.sqrt(2 * math.pi * (0.02 / 3 + 1e-6)))
    )
    tied = mixture(values, "tied", [[1.0]])
    assert tied.variances == pytest.approx([(0.02 + 0.05) / 7 + 1e-6] * 2)


def test_mixture_equals_scikit_learn() -> None:
    reference = pytest.importorskip("sklearn.mixture", reason="scikit-learn is not installed")
    values = np.sort(np.random.default_rng(0).gamma(2, 1, 30))[:, None]
    first: dict[str, Any] = {
        "weights_init": [0.5, 0.5],
        "means_init": values[[0, -1]],
        "precisions_init": np.ones((2, 1, 1)),
    }
    mine, theirs = compat.GaussianMixture(2, **first).fit(values), reference.GaussianMixture(2, **first).fit(values)
    assert mine.predict(values).tolist() == theirs.predict(values).tolist()
    assert mine.score_samples(values) == pytest.approx(theirs.score_samples(values))


def test_the_epoch_is_known_without_a_runner() -> None:
    from mmengine.logging import MessageHub

    assert MessageHub.get_current_instance().get_info("epoch") is not None
