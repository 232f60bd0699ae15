"""Data order and augmentation as a function of (seed, position), so a resumed run reads the same batches.

mmengine restarts an epoch from its first batch and stores no random state. Here nothing has to be stored: the image at
position p of the training stream, and every random number its pipeline draws, follow from the seed and p. Position
p = iteration * batch + place in the effective batch, so one process and two processes of half the batch read the same
stream; skipping to an iteration costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

from c2d.core.errors import RunError, first_line
from c2d.ops.seeding import derive_seed, temporary_seed


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


class SeededDataset(Dataset[Any]):
    """A map-style data set whose item at (position, index) draws its augmentation from (seed, position)."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.metainfo = dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        position, index = key
        # 1 is the purpose of this seed, see `Distillation.generator`. The states are restored: with workers 0 the
        # loader runs in the process of the training step.
        with temporary_seed(derive_seed(self.seed, position, 1)):
            try:
                return self.dataset[index]
            except Exception as error:  # a pipeline may raise anything at a broken image
                path = self.dataset.get_data_info(index).get("img_path", f"number {index}")
                raise RunError(
                    f"training image {path}: {first_line(error)}; run `c2d data check` on the data set", "data"
                ) from error
