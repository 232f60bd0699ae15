"""Count the FLOPs and the operators of a forward and a backward pass.

No tensor needs to hold numbers: the meta device is enough.

torch counts the gradient of a grouped convolution's weight as if it had one group (25 times the forward pass for a
network of depthwise convolutions); here each of the two gradients takes as many FLOPs as the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import op_formulas

Shape = Sequence[int]


def convolution_backward(
    gradient: Shape, x: Shape, weight: Shape, _bias: Any, _stride: Any, _padding: Any, _dilation: Any, transposed: bool,
    _output_padding: Any, _groups: int, output_mask: Sequence[bool], out_shape: Any = None,
) -> int:  # fmt: skip
    """Return the FLOPs of the needed gradients of a convolution: of its input, of its weight.

    Shapes: gradient (N, c_out, h, w), x (N, c_in, H, W), weight (c_out, c_in / groups, k, k).
    """
    positions = x if transposed else gradient
    forward = 2 * positions[0] * math.prod(positions[2:]) * math.prod(weight)
    return forward * (bool(output_mask[0]) + bool(output_mask[1]))


class Work(NamedTuple):
    """What a part of a step does.

    Attributes:
        flops: of all operators with a formula.
        operators: calls of any operator; each costs time on the host, however small its tensors are.
    """

    flops: float
    operators: int


class WorkCounter:
    """A context that counts every operator of forward and backward passes inside it."""

    def __init__(self) -> None:
        formulas = op_formulas.formulas() | {torch.ops.aten.convolution_backward: convolution_backward}
        self._flops = FlopCounterMode(display=False, custom_mapping=formulas)
        self._operators = _OperatorCount()
        self._stack = ExitStack()

    def __enter__(self) -> WorkCounter:
        self._stack.enter_context(self._flops)
        self._stack.enter_context(self._operators)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def work(self) -> Work:
        """Return what was done so far."""
        return Work(float(self._flops.get_total_flops()), self._operators.calls)


class _OperatorCount(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def forward_and_training_work(call: Callable[[], Any]) -> tuple[Work, Work]:
    """Return the work of a call, and of the call with the backward pass from the sum of all its outputs.

    Args:
        call: computes tensors, or tuples, lists and dicts of them. Without a gradient both are equal.
    """
    with WorkCounter() as counter:
        outputs = list(tensors(call()))
        forward = counter.work()
        graph = [output.float().sum() for output in outputs if output.requires_grad]
        if graph:
            torch.stack(graph).sum().backward()
        return forward, counter.work()


def tensors(outputs: Any) -> Iterator[Tensor]:
    """Yield every tensor (any shape) of nested tuples, lists and dicts, in order."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        for value in outputs.values():
            yield from tensors(value)
    elif isinstance(outputs, list | tuple):
        for value in outputs:
            yield from tensors(value)
