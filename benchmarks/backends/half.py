"""fp16 and bf16, by cast weights or by autocast.

Where NMS is outside the network, the weights are cast. A two-stage network holds boxes in pixels, so it runs under
autocast: fp16 cannot represent both pixel 2049 and 2050, bf16 not both 257 and 258.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.backends.base import BackendContext, PreparedBackend, Unavailable
from benchmarks.backends.network_copy import as_float32, converted_copy
from c2d.core.errors import first_line


def prepare_fp16(context: BackendContext) -> PreparedBackend:
    """Prepare half precision."""
    return _prepare(context, torch.float16)


def prepare_bf16(context: BackendContext) -> PreparedBackend:
    """Prepare bfloat16."""
    return _prepare(context, torch.bfloat16)


def _prepare(context: BackendContext, dtype: torch.dtype) -> PreparedBackend:
    """Raises Unavailable where the device has no kernels for the type."""
    device_type = context.device.type
    # By default torch counts bf16 that it emulates as supported.
    if (
        device_type == "cuda"
        and dtype is torch.bfloat16
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise Unavailable(f"{torch.cuda.get_device_name()} has no bf16 arithmetic")
    cast_weights = context.network.nms == "out"
    run = converted_copy(context.network, (lambda network: network.to(dtype)) if cast_weights else (lambda _: None))

    def with_cast_weights(inputs: Tensor) -> tuple[Tensor, ...]:
        return run(inputs.to(dtype))

    def with_autocast(inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(device_type, dtype=dtype):
            return as_float32(run(inputs))

    call = with_cast_weights if cast_weights else with_autocast
    try:
        # A missing kernel is reported only when the operator runs.
        call(torch.zeros(1, 3, 64, 64, device=context.device))
    except (RuntimeError, NotImplementedError) as error:
        raise Unavailable(f"no {dtype} kernel for an operator of this network: {first_line(error)}") from error
    return PreparedBackend(call, conditions={"cast": "weights" if cast_weights else "autocast"})
