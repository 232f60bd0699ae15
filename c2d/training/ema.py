"""The running average of the student's weights (EMA), when a schedule asks for one."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor, nn


class Average:
    """w <- w + momentum * (weight - w) after every step; integer buffers (batch counts) are copied."""

    def __init__(self, model: nn.Module, momentum: float) -> None:
        self.momentum = momentum
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        for key, value in model.state_dict().items():
            kept = self.state[key]
            if value.is_floating_point():
                kept.lerp_(value, self.momentum)
            else:
                kept.copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        return self.state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for key, value in state.items():
            self.state[key].copy_(value)


class AverageHook(Hook):
    """Updates the average after each optimizer step, before a checkpoint is written."""

    priority = "VERY_LOW"

    def __init__(self, average: Average) -> None:
        self.average = average

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.average.update(runner.model.module if is_model_wrapper(runner.model) else runner.model)
