"""Whether a DETR-like detector with two stages finds as many cells in an image as it has queries.

Deformable DETR with two stages and DINO take their queries from the best cells of all levels, by `torch.topk`, which
raises an error where there are fewer cells. DDQ fills the missing ones with zeros.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from c2d.core.errors import InputError
from c2d.detectors.families import detector_family
from c2d.detectors.recording.layout import probe_layout

FAMILIES = ("deformable-detr", "dino")


def check_candidates(detector: Any, size: tuple[int, int], images: Iterable[tuple[int, int]]) -> None:
    """Check that every image has a cell for each query; detectors of other kinds pass.

    Args:
        detector: an mmdet detector.
        size: (long, short) in px, into which an image is fitted.
        images: (height, width) of the images in px.

    Raises:
        InputError: an image has too few cells, with the smallest size of a square input that has enough.
    """
    if detector_family(detector) not in FAMILIES or not detector.as_two_stage:
        return
    strides = [level.stride for level in probe_layout(detector).neck]
    queries = int(detector.num_queries)
    least, shape = min((_cells(shape, strides), shape) for shape in {_fitted(image, size) for image in images})
    if least < queries:
        side = next(side for side in range(32, 100_000, 32) if _cells((side, side), strides) >= queries)
        raise InputError(
            f"input {min(size)}: {queries} queries are taken from the cells of the image, and an image of "
            f"{shape[1]} x {shape[0]} px has {least} cells at strides {', '.join(map(str, strides))}; set a larger "
            f"`input` ({side} is enough for square images), or `model.num_queries` to at most {least} in `overrides`"
        )


def _fitted(image: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of an image that is resized into (long, short) with its proportions kept."""
    factor = min(size[0] / max(image), size[1] / min(image))
    return int(image[0] * factor + 0.5), int(image[1] * factor + 0.5)


def _cells(shape: tuple[int, int], strides: list[int]) -> int:
    return sum(-(-shape[0] // stride) * -(-shape[1] // stride) for stride in strides)
