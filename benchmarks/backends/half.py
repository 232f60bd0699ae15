"""fp16 and bf16. Where NMS is outside, the weights themselves are cast; where the network holds boxes in pixels (two
stages), autocast: fp16 cannot tell pixel 1201 from 1202, and bf16 not 257 from 258.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.backends import Prepared, Unavailable
from benchmarks.backends.network_copy import full, twin
from c2d.core.errors import first_line

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject


def fp16(subject: Subject) -> Prepared:
    return _prepare(subject, torch.float16)


def bf16(subject: Subject) -> Prepared:
    return _prepare(subject, torch.bfloat16)


def _prepare(subject: Subject, dtype: torch.dtype) -> Prepared:
    """Raises Unavailable where the device has no kernels for the type."""
    kind = subject.device.type
    if kind == "cuda" and dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise Unavailable(f"{torch.cuda.get_device_name()} has no bf16 arithmetic")
    by_weights = subject.network.nms == "out"
    run = twin(subject, (lambda network: network.to(dtype)) if by_weights else (lambda _: None))

    def cast(inputs: Tensor) -> tuple[Tensor, ...]:
        return run(inputs.to(dtype))

    def automatic(inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(kind, dtype=dtype):
            return full(run(inputs))

    call = cast if by_weights else automatic
    try:
        call(torch.zeros(1, 3, 64, 64, device=subject.device))
    except (RuntimeError, NotImplementedError) as error:
        raise Unavailable(f"no {dtype} kernel for an operator of this network: {first_line(error)}") from error
    return Prepared(call, conditions={"cast": "weights" if by_weights else "autocast"})
