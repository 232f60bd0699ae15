"""A curve in a few characters: `▇▆▅▃▂▁`, or `#+=-._` where a terminal has no such characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=+*%#"
"""Eight levels, lowest first."""
NOT_FINITE = "!"


def sparkline(values: Sequence[float], width: int, levels: str = BLOCKS) -> str:
    """Return one character for each value, or for the mean of several where there are more values than characters.

    The lowest mean is the lowest level and the highest the highest; equal ones are all in the middle. A character that
    stands for a value that is not finite is NOT_FINITE.

    Args:
        values: oldest first.
        width: most characters.
        levels: BLOCKS or ASCII.

    >>> sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8)
    '█▇▆▅▄▃▂▁'
    >>> sparkline([9, 7, float("nan"), 1], 4), sparkline([2, 2, 2], 5), sparkline([], 5)
    ('█▆!▁', '▄▄▄', '')
    """
    means = bin_means(values, width)
    finite = [value for value in means if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return "".join(levels[_level(value, low, high)] if math.isfinite(value) else NOT_FINITE for value in means)


def bin_means(values: Sequence[float], width: int) -> list[float]:
    """Return at most `width` means of neighbouring values; the numbers of values in two bins differ by one at most.

    Args:
        values: a bin with one that is not finite has the mean NaN.
    """
    count = min(len(values), max(0, width))
    edges = [place * len(values) // count for place in range(count + 1)] if count else []
    bins = [values[begin:end] for begin, end in pairwise(edges)]
    return [_mean(one) if all(map(math.isfinite, one)) else math.nan for one in bins]


def _mean(values: Sequence[float]) -> float:
    # Each is divided first: the sum of large numbers may be infinite.
    mean = sum(value / len(values) for value in values)
    return min(max(mean, min(values)), max(values))


def _level(value: float, low: float, high: float) -> int:
    if high <= low:
        return 3
    # Halves: the span of the largest and the smallest float is infinite.
    return min(7, int(8 * ((value / 2 - low / 2) / (high / 2 - low / 2))))
