"""Split images at random into those to train on and those to evaluate on: a stated share and a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from c2d.core.errors import InputError


def random_split(names: Sequence[str], val_share: float, seed: int) -> dict[str, list[str]]:
    """Return {"train": names, "val": names}, each in the given order.

    The images whose sha256 of "seed:name" is smallest are `val`, so that the split depends on nothing but the names.

    Args:
        names: of all images, each once.
        val_share: share of the images to evaluate on, above 0 and below 1.
        seed: another seed draws another split.

    Raises:
        InputError: no such share; a split would have no image.
    """
    if not 0 < val_share < 1:
        raise InputError(f"--val-share {val_share:g}; wanted a share above 0 and below 1, as 0.5")
    number = round(val_share * len(names))
    if not 0 < number < len(names):
        raise InputError(f"--val-share {val_share:g} of {len(names)} images is {number} images; both splits need one")
    drawn = set(sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())[:number])
    return {"train": [name for name in names if name not in drawn], "val": [name for name in names if name in drawn]}
