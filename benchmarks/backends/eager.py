"""Eager: the stock network on torch's own kernels, operator by operator. What every other backend is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.backends import Prepared

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject


def prepare(subject: Subject) -> Prepared:
    network = subject.network

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return network(inputs)

    return Prepared(run)
