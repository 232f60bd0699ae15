"""Run the same operators with weights and images in torch's memory format channels_last (NHWC)."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.backends.base import BackendContext, PreparedBackend
from benchmarks.backends.network_copy import converted_copy


def prepare(context: BackendContext) -> PreparedBackend:
    """Convert a copy of the network; the conversion of the images is timed."""
    run = converted_copy(context.network, lambda network: network.to(memory_format=torch.channels_last))

    def call(inputs: Tensor) -> tuple[Tensor, ...]:
        return run(inputs.contiguous(memory_format=torch.channels_last))

    return PreparedBackend(call)
