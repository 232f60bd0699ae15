"""mmdet's random sizes of batches as a function of seed and iteration, so that a run continues exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmdet.models.data_preprocessors import BatchSyncRandomResize
from mmengine.logging import MessageHub
from torch import Tensor

PURPOSE = 5
"""Of this use of the seed; others: `Distillation.generator`."""


class IterationResize(BatchSyncRandomResize):
    """mmdet's BatchSyncRandomResize whose size follows from the seed and the iteration alone.

    The first `interval` iterations keep the size of the images; then every `interval` iterations another multiple of
    `size_divisor` is drawn from the range, all with equal probability, as mmdet draws them. All ranks draw the same.

    Args:
        stock: the module whose place it takes.
        seed: of the run.
    """

    def __init__(self, stock: BatchSyncRandomResize, seed: int) -> None:
        super().__init__((0, 0), stock._interval, stock._size_divisor)
        self._random_size_range, self.seed = stock._random_size_range, seed

    def forward(self, inputs: Tensor, data_samples: Any) -> Any:
        """Resize a batch and its boxes.

        Args:
            inputs: (B, 3, H, W).
            data_samples: B of mmdet's DetDataSample, boxes xyxy in px of `inputs`; changed in place.
        """
        hub = MessageHub.get_current_instance()
        if hub.get_info("iter") is None:  # outside a training: the first iteration
            hub.update_info("iter", 0)
        height, width = inputs.shape[-2:]
        self._input_size = self.size(hub.get_info("iter"), height, width)
        return super().forward(inputs, data_samples)

    def size(self, iteration: int, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) in px of the batch of an iteration.

        Args:
            iteration: from 0.
            height, width: of the batch before, in px.
        """
        period = iteration // self._interval
        if period == 0:
            return height, width
        low, high = self._random_size_range
        cells = int(np.random.default_rng([self.seed, period, PURPOSE]).integers(low, high + 1))
        return self._size_divisor * cells, self._size_divisor * int(width / height * cells)

    def _get_random_size(self, aspect_ratio: float, device: Any) -> Any:
        """The size of the next interval is not drawn here: `forward` sets it."""
        return self._input_size
