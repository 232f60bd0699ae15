"""Numbers in label files, which are text."""

from __future__ import annotations

import math

LARGEST = 1e7
"""In px or degrees; larger ones are damage."""


def label_number(text: str) -> float:
    """Return the number that a text of a label file has; NaN for what is none, is not finite, or is above LARGEST.

    >>> label_number("-1.5e2"), label_number("1_0"), label_number("inf")
    (-150.0, nan, nan)

    Args:
        text: without the blanks around it.
    """
    try:
        value = float("nan" if "_" in text else text)  # Python reads 1_0 as 10
    except ValueError:
        return math.nan
    return value if abs(value) < LARGEST else math.nan
