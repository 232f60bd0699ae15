"""Seeds: derive one from several numbers, and draw from it without changing the global random states."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def mix(*numbers: int) -> int:
    """One 32-bit seed from several numbers; neighbouring inputs give unrelated seeds."""
    return int(np.random.SeedSequence([int(number) for number in numbers]).generate_state(1)[0])


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Inside: python, numpy and torch (CPU) draw from `seed`. Outside: as if nothing had happened."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    seed_everything(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])


def seed_everything(seed: int) -> None:
    """python, numpy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
