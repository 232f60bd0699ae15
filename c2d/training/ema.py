"""Exponential moving average (EMA) of the trained weights, where a schedule sets `ema`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EMA:
    """Average of weights over the steps: average <- average + momentum * (weight - average).

    Integer buffers (e.g. the batch count of a normalization layer) are copied.

    Attributes:
        momentum: share of the new weights, in (0, 1].
        state: the average, under the keys of the model's state dict.
    """

    def __init__(self, model: nn.Module, momentum: float) -> None:
        self.momentum = momentum
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Add the weights of `model` to the average; called after each optimizer step."""
        state = model.state_dict()
        for key, average in self.state.items():  # a loss may have added keys, see `checkpoint.built_weights`
            value = state[key]
            # Buffers are averaged too: batch norm's statistics belong to the averaged weights.
            if value.is_floating_point():
                average.lerp_(value, self.momentum)
            else:
                average.copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average, tensors of any shape under the keys of the model."""
        return self.state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the average of a checkpoint.

        Args:
            state: tensors of any shape under the keys of the model.
        """
        for key, value in state.items():
            self.state[key].copy_(value)
