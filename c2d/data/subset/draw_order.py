"""The order in which the training images of a data set are drawn: the first k of it are the subset of k images.

One order for each seed, so a smaller subset lies inside a larger one. The order is a shuffle by the sha256 of
"seed:name" (as `c2d.data.conversion.random_split`), which does not depend on the order of the file or on a library's
generator. Random images at nested or repeated sizes are what the studies of few labels take (Sohn et al. 2020, STAC,
arXiv:2005.04757: 1, 2, 5 and 10 % of COCO, five draws).

A plain shuffle can lose a rare class. So the classes are visited from the rarest on, as iterative stratification does
(Sechidis et al. 2011, ECML PKDD, section 4), and a class that no image at the front has gets its first image of the
shuffle moved to the front. Where that image is among the first k anyway, nothing changes: the subset is the first k of
the shuffle, a random sample. Among the moved images that with the most classes that are still missing comes next (the
greedy set cover of Johnson 1974), which keeps most classes where k images cannot hold all. Iterative stratification
itself also balances the frequent classes, but its parts for 10 and 30 % are two draws, of which one is not inside the
other.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class DrawOrder:
    """An order of images.

    Attributes:
        places: of the images in the given list, in the order in which they are drawn.
        front: number of images at the front after which every class has one.
    """

    places: tuple[int, ...]
    front: int


def draw_order(names: Sequence[str], classes: Sequence[Set[Hashable]], seed: int) -> DrawOrder:
    """Return the order of a seed.

    >>> draw_order(["a", "b", "c"], [{"ant"}, {"ant"}, {"bee"}], 0)
    DrawOrder(places=(0, 2, 1), front=2)

    Args:
        names: of the images.
        classes: of each image the classes that training can learn from it.
        seed: another seed draws another order.
    """
    shuffle = sorted(range(len(names)), key=lambda place: (_digest(seed, names[place]), place))
    rank = {place: number for number, place in enumerate(shuffle)}
    first: dict[Hashable, int] = {}
    for place in shuffle:
        for name in classes[place]:
            first.setdefault(name, place)
    images = Counter(name for of_image in classes for name in of_image)
    candidates: list[int] = []
    kept: set[Hashable] = set()
    # Of two equally rare classes the one whose image comes first; two of one image are kept together.
    for name in sorted(images, key=lambda name: (images[name], rank[first[name]])):
        if name not in kept:
            candidates.append(first[name])
            kept |= classes[first[name]]
    front = _cover(candidates, classes, rank)
    moved = set(front)
    return DrawOrder((*front, *(place for place in shuffle if place not in moved)), len(front))


def _cover(candidates: Sequence[int], classes: Sequence[Set[Hashable]], rank: Mapping[int, int]) -> list[int]:
    """The candidates in the order of the classes that each adds, without those that add none."""
    front: list[int] = []
    missing = set[Hashable]().union(*(classes[place] for place in candidates))
    while missing:
        front.append(max(candidates, key=lambda place: (len(missing & classes[place]), -rank[place])))
        missing -= classes[front[-1]]
    return front


def _digest(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
