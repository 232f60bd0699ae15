"""Seeds: derive one from several numbers, and seed all generators, for good or inside a block."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*numbers: int) -> int:
    """Derive a 32-bit seed from several numbers; neighbouring inputs give unrelated seeds."""
    return int(np.random.SeedSequence([int(number) for number in numbers]).generate_state(1)[0])


@contextmanager
def temporary_seed(seed: int) -> Iterator[None]:
    """Seed python, numpy and torch (CPU) inside the block; restore their states at its end."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    _seed_python_and_numpy(seed)
    # torch.manual_seed would seed GPUs too, which are not restored, and takes most of the time of this function.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])


def seed_everything(seed: int) -> None:
    """Seed python, numpy, and torch on every device."""
    _seed_python_and_numpy(seed)
    torch.manual_seed(seed)


def _seed_python_and_numpy(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # numpy accepts 32 bits only
