"""Priors on the pixels: total variation, the statistics of the teacher's batch norms, and the size of the values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from c2d.specs.impressions_schedule import Priors

EPS = 1e-12
LOWEST_VARIANCE = 0.01
"""Smallest running variance of a channel that counts, as a share of the layer's mean."""


def total_variation(images: Tensor, power: int) -> Tensor:
    """Return the mean of |difference of neighbours|^power, vertical plus horizontal; 0 for a constant image.

    Args:
        images: (B, 3, H, W).
        power: 1 or 2.

    Returns:
        Shape ().
    """
    down, right = images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]
    if power == 1:
        return down.abs().mean() + right.abs().mean()
    return down.square().mean() + right.square().mean()


class BatchNormStatistics:
    """Distance between the batch statistics of a teacher's batch norms and the statistics they have stored.

    A layer that is called several times in a pass, as in a head over all levels, has the statistics of all its calls
    together.

    Attributes:
        layers: the batch norms with stored statistics; the prior is undefined where there are none.

    Args:
        network: the teacher.
        form: `absolute`: sum over the layers of |mean - running mean| + |variance - running variance|, each an L2 norm
            over the channels (DeepInversion, CVPR 2020). `relative` (ours): sum over the layers of the root mean square
            over the channels of (mean - running mean) / s and of (standard deviation / s - 1), where s is the running
            standard deviation, so that layers with large values do not outweigh the others.
        first_factor: factor of the first layer.
    """

    def __init__(self, network: nn.Module, form: str = "absolute", first_factor: float = 1.0) -> None:
        self.layers = [
            layer
            for layer in network.modules()
            if isinstance(layer, _BatchNorm)
            and layer.running_mean is not None
            and not isinstance(layer, nn.BatchNorm1d)
        ]
        self.form, self.first_factor = form, first_factor
        self._seen: dict[nn.Module, list[tuple[int, Tensor, Tensor]]] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the inputs' statistics of the forward pass in the block, for `distance`."""
        self._seen = {}
        handles = [layer.register_forward_pre_hook(self._record) for layer in self.layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _record(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float()
        mean, variance = channel_moments(values)
        self._seen.setdefault(layer, []).append((values.numel() // values.shape[1], mean, variance))

    def distance(self) -> Tensor:
        """Return the distance of the recorded pass, shape (), with its graph."""
        parts = []
        for place, layer in enumerate(one for one in self.layers if one in self._seen):
            assert layer.running_mean is not None  # see `layers`
            assert layer.running_var is not None
            apart = _DISTANCES[self.form](*_pooled(self._seen[layer]), layer.running_mean, layer.running_var)
            parts.append(apart * self.first_factor if place == 0 else apart)
        self._seen = {}
        return torch.stack(parts).sum()


def channel_moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance of each channel, (C,) each, with the graph of maps (B, C, H, W) fp32.

    They have one backward pass over the maps together; autograd's own for a mean and a variance has five.
    """
    mean, variance = _ChannelMoments.apply(maps)
    return mean, variance


class _ChannelMoments(torch.autograd.Function):
    """Mean and biased variance of each channel."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
        if maps.device.type == "cpu":
            # torch's reduction is slow on CPUs (28 times for 64 x 80 x 80). One call for each image and not for all:
            # the sums of this kernel are plain ones in fp32, and their error grows with their length.
            calls = [torch.ops.aten.batch_norm_update_stats(one[None], None, None, 0.0) for one in maps]
            means, variances = (torch.stack(part) for part in zip(*calls, strict=True))
            mean = means.mean(0)
            variance = variances.mean(0) + (means - mean).square().mean(0)
        else:
            variance, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
        ctx.save_for_backward(maps, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
        maps, mean = ctx.saved_tensors
        count = maps.numel() // maps.shape[1]
        slope = 2 / count * grad_variance
        offset = grad_mean / count - slope * mean
        return torch.addcmul(offset[:, None, None], maps, slope[:, None, None])


def batch_norm_prior(network: nn.Module, weights: Priors) -> BatchNormStatistics | None:
    """Return the prior on a teacher's statistics; None where its weight is 0 or the teacher has no batch norm.

    Args:
        network: the teacher.
        weights: of all terms.
    """
    if not weights.batch_norm:
        return None
    found = BatchNormStatistics(network, weights.batch_norm_form, weights.first_batch_norm)
    return found if found.layers else None


def _pooled(calls: list[tuple[int, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Mean and variance of all values of several calls, from the count, mean and variance of each."""
    if len(calls) == 1:
        return calls[0][1], calls[0][2]
    total = sum(count for count, _, _ in calls)
    mean = sum((count * one for count, one, _ in calls), torch.zeros(())) / total
    square = sum((count * (var + one.square()) for count, one, var in calls), torch.zeros(())) / total
    return mean, square - mean.square()


def _absolute(mean: Tensor, variance: Tensor, running_mean: Tensor, running_var: Tensor) -> Tensor:
    return (mean - running_mean).norm() + (variance - running_var).norm()


def _relative(mean: Tensor, variance: Tensor, running_mean: Tensor, running_var: Tensor) -> Tensor:
    # A channel that never changed in training has a running variance of nearly 0: it must not count without limit.
    deviation = running_var.clamp(min=float(LOWEST_VARIANCE * running_var.mean())).sqrt()
    shift, spread = (mean - running_mean) / deviation, (variance + EPS).sqrt() / deviation - 1
    return _root_mean_square(shift) + _root_mean_square(spread)


def _root_mean_square(values: Tensor) -> Tensor:
    return (values.square().mean() + EPS).sqrt()  # the root has no gradient at 0


_DISTANCES = {"absolute": _absolute, "relative": _relative}
