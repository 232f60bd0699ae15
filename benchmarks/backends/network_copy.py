"""A copy of the subject's network that may be converted, and sees the samples that the original is shown.

The original stays as it is: it is what every backend is compared with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from benchmarks.backends import Call
    from benchmarks.latency.network import Network
    from benchmarks.latency.student import Subject


def twin(subject: Subject, convert: Callable[[Network], object] = lambda _: None) -> Call:
    """The call of a converted copy, without gradients; its floating outputs come back as float32."""
    original = subject.network
    network = copy.deepcopy(original)
    convert(network)

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        network._samples = original._samples  # what `subject.run` shows the original
        with torch.no_grad():
            return full(network(inputs))

    return run


def full(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The outputs with every floating tensor in float32."""
    return tuple(value.float() if value.is_floating_point() else value for value in outputs)
