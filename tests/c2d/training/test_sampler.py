"""The training stream follows from seed and position: the same when resumed, split over ranks or workers shuffled."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.evaluation.seeded_dataset import SeededDataset
from c2d.ops.seeding import derive_seed, temporary_seed
from c2d.training.sampler import ResumableSampler


class Noise:
    """Items that draw from every generator."""

    metainfo: ClassVar[dict[str, Any]] = {}

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(0, 3), st.sampled_from([1, 2, 4]), st.integers(0, 7))
def test_resumed_stream_is_the_tail_of_the_whole(length: int, seed: int, batch: int, start: int) -> None:
    whole = list(ResumableSampler(length, seed, batch, 0, 1, 0, 8))
    assert list(ResumableSampler(length, seed, batch, 0, 1, start, 8)) == whole[start * batch :]


def test_ranks_share_the_effective_batch() -> None:
    whole = list(ResumableSampler(7, 1, 4, 0, 1, 0, 6))
    halves = [list(ResumableSampler(7, 1, 4, rank, 2, 0, 6)) for rank in (0, 1)]
    merged = [item for step in range(6) for half in halves for item in half[2 * step : 2 * step + 2]]
    assert merged == whole
    assert [len(ResumableSampler(7, 1, 4, rank, 2, 0, 6)) for rank in (0, 1)] == [12, 12]


def test_every_epoch_sees_every_image_once() -> None:
    indices = [index for _, index in ResumableSampler(6, 0, 3, 0, 1, 0, 4)]
    assert sorted(indices[:6]) == sorted(indices[6:]) == list(range(6))
    assert indices[:6] != indices[6:]


def test_augmentation_follows_from_seed_and_position_alone() -> None:
    dataset = SeededDataset(Noise(), seed=3)
    first = dataset[(10, 2)]
    dataset[(11, 0)]
    assert dataset[(10, 2)] == first
    assert dataset[(11, 2)][1:] != first[1:]
    assert SeededDataset(Noise(), seed=4)[(10, 2)][1:] != first[1:]


def test_the_global_random_state_is_unchanged() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    expected = torch.rand(2).tolist(), np.random.rand(2).tolist(), [random.random(), random.random()]
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    got: tuple[list[float], list[float], list[float]] = ([], [], [])
    for position in range(2):
        with temporary_seed(7):
            Noise()[position]
        got[0].append(float(torch.rand(())))
        got[1].append(float(np.random.rand()))
        got[2].append(random.random())
    assert got == expected


def test_mixed_seeds_differ() -> None:
    assert (
        len({derive_seed(seed, iteration, rank) for seed in range(5) for iteration in range(20) for rank in range(4)})
        == 400
    )
