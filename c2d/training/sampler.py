"""Data order and augmentation as a function of (seed, position), so a resumed run reads the same batches.

mmengine restarts an epoch from its first batch and stores no random state. Here nothing has to be stored: the image at
position p of the training stream, and every random number its pipeline draws, follow from the seed and p. Position
p = iteration * batch + place in the effective batch, so one process and two processes of half the batch read the same
stream; skipping to an iteration costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler


class ResumableSampler(Sampler[tuple[int, int]]):
    """Training stream of one rank, from iteration `start` on: yields (position, index of the image).

    Args:
        length: images in the data set.
        seed: of the run.
        batch: effective batch over all ranks; rank r owns the places r * batch / world .. (r + 1) * batch / world - 1.
        rank, world: of this process, and their number.
        start: first iteration.
        stop: iteration after the last one.
    """

    def __init__(self, length: int, seed: int, batch: int, rank: int, world: int, start: int, stop: int) -> None:
        self.length, self.seed, self.batch = length, seed, batch
        self.rank, self.world, self.start, self.stop = rank, world, start, stop
        # A batch may reach from one epoch into the next.
        self._order = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.length)

    def __len__(self) -> int:
        return (self.stop - self.start) * self.batch // self.world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        share = self.batch // self.world
        for iteration in range(self.start, self.stop):
            for place in range(self.rank * share, (self.rank + 1) * share):
                position = iteration * self.batch + place
                epoch, offset = divmod(position, self.length)
                yield position, int(self._order(epoch)[offset])
