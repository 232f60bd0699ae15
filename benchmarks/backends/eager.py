"""Run the stock network on torch's own kernels, operator by operator. Every other backend is compared with this one."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.backends.base import BackendContext, PreparedBackend


def prepare(context: BackendContext) -> PreparedBackend:
    """Return the stock network itself, without gradients."""
    network = context.network

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return network(inputs)

    return PreparedBackend(run)
