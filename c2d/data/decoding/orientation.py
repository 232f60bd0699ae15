"""The eight orientations of EXIF: pixels and boxes between the frame as stored and the upright one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Size = tuple[int, int]

# The orientation that undoes each one.
_INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def upright_pixels(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return pixels (H, W, C) as stored in the upright frame: (H, W, C), (W, H, C) for the orientations 5 to 8."""
    if orientation >= 5:
        stored = stored.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    return stored


def upright_size(stored: Size, orientation: int) -> Size:
    """Return (width, height) in pixels of the upright frame from that of the stored frame; it is its own inverse."""
    return (stored[1], stored[0]) if orientation >= 5 else stored


def upright_box(box: Box, stored: Size, orientation: int) -> Box:
    """Return a box of the stored frame in the upright frame.

    Args:
        box: (x, y, width, height) in pixel edges, as in COCO.
        stored: (width, height) in pixels of the stored frame.
        orientation: 1 to 8.
    """
    x, y, w, h = box
    width, height = upright_size(stored, orientation)
    if orientation >= 5:
        x, y, w, h = y, x, h, w
    if orientation in (3, 4, 7, 8):
        y = height - y - h
    if orientation in (2, 3, 6, 7):
        x = width - x - w
    return x, y, w, h


def stored_box(box: Box, stored: Size, orientation: int) -> Box:
    """Return a box of the upright frame in the stored frame; see `upright_box` for the arguments."""
    return upright_box(box, upright_size(stored, orientation), _INVERSE[orientation])


def same_pixels(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Return whether two images have one shape and equal pixels."""
    return first.shape == second.shape and bool(np.array_equal(first, second))
