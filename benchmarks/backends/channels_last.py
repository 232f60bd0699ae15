"""channels_last: the same operators on weights and images whose channels lie side by side in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.backends import Prepared
from benchmarks.backends.network_copy import twin

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject


def prepare(subject: Subject) -> Prepared:
    run = twin(subject, lambda network: network.to(memory_format=torch.channels_last))

    def call(inputs: Tensor) -> tuple[Tensor, ...]:
        return run(inputs.contiguous(memory_format=torch.channels_last))

    return Prepared(call)
