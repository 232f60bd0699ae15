"""A copy of the network that may be converted. The original stays unchanged: every backend is compared with it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.backends.network import Call, Network


def converted_copy(network: Network, convert: Callable[[Network], object] = lambda _: None) -> Call:
    """Return the call of a copy, without gradients; its floating outputs are float32.

    Args:
        convert: changes the copy in place.
    """
    # `Module.to` converts in place.
    duplicate = copy.deepcopy(network)
    convert(duplicate)

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        duplicate.batch_samples = network.batch_samples  # set by `network.run` for the original only
        with torch.no_grad():
            return as_float32(duplicate(inputs))

    return run


def as_float32(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Convert every floating tensor, of any shape, to float32."""
    return tuple(value.float() if value.is_floating_point() else value for value in outputs)
