"""The last layer of a classifier: its linear layer, found by running the network, and the layer's inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError


def head_name(network: nn.Module, size: int) -> str:
    """Return the module name of the linear layer whose output is the output of the network.

    Args:
        network: a classifier that processes crops of this size; it is run once, in eval mode.
        size: side of its crops in px.

    Raises:
        InputError: the network ends in another layer.
    """
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    outputs: list[Tensor] = []
    last = [network.get_submodule(name) for name in linear[-1:]]
    handles = [module.register_forward_hook(lambda *call: outputs.append(call[2])) for module in last]
    modes = {module: module.training for module in network.modules()}
    weight = next(network.parameters())
    try:
        with torch.no_grad():
            result = network.eval()(torch.zeros(1, 3, size, size, dtype=weight.dtype, device=weight.device))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    if not outputs or outputs[-1].shape != result.shape or not torch.equal(outputs[-1], result):
        raise InputError(
            f"{type(network).__name__} does not end in one linear layer, so there is no head to fit alone; take "
            "fit: full, or another network"
        )
    return linear[-1]


@contextmanager
def record_inputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the inputs of `module`, one tensor (K, D) for each call, inside the block."""
    inputs: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _module, given: inputs.append(given[0]))
    try:
        yield inputs
    finally:
        handle.remove()
