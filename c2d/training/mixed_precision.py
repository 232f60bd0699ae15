"""Mixed precision on CUDA and CPU: autocast around the losses, and a loss scaler where fp16 needs one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class MixedPrecision(AmpOptimWrapper):
    """mmengine's AmpOptimWrapper without its insistence on a GPU; bf16 has the range of fp32, so it is not scaled.

    Args:
        dtype: `float16` or `bfloat16`.
        rest: of mmengine's OptimWrapper.
    """

    def __init__(self, dtype: str, **rest: Any) -> None:
        OptimWrapper.__init__(self, **rest)  # the parent's own refuses a CPU
        self.device_type = "cuda" if torch.cuda.is_available() else "cpu"
        self.cast_dtype = getattr(torch, dtype)
        self.loss_scaler = torch.amp.GradScaler(self.device_type, enabled=dtype == "float16")
        self._scale_update_param = None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with OptimWrapper.optim_context(self, model), torch.autocast(self.device_type, dtype=self.cast_dtype):
            yield
