"""Mean and variance of channels: equal to torch's, value and gradient."""

from __future__ import annotations

import pytest
import torch

from c2d.impressions.pixels.priors import channel_moments


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_moments_equal_those_of_torch(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = (torch.randn(4, 5, 40, 30, generator=generator) * torch.arange(1, 6)[:, None, None] + 7).to(
        memory_format=layout
    )
    maps.requires_grad_()
    ours = channel_moments(maps)
    double = maps.double()
    theirs = double.mean((0, 2, 3)), double.var((0, 2, 3), correction=0)
    weights = torch.randn(2, 5, generator=generator)
    gradients = []
    for mean, variance in (ours, theirs):
        total = (weights[0] * mean).sum() + (weights[1] * variance.sqrt()).sum()
        gradients.append(torch.autograd.grad(total, maps)[0])
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.double(), b, rtol=3e-6, atol=0)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)


def test_gradients_of_single_and_constant_values() -> None:
    maps = torch.full((2, 1, 2, 2), 3.0, requires_grad=True)
    mean, variance = channel_moments(maps)
    assert (mean.item(), variance.item()) == (3, 0)
    (2 * mean + 5 * variance).sum().backward()
    assert maps.grad is not None
    assert maps.grad.flatten().tolist() == pytest.approx([0.25] * 8)  # 2 / 8 values; the variance is at its minimum
