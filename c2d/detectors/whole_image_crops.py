"""Transforms for images that are one object each, as ImageNet's: a random part to train on, the centre for scoring.

Both follow torchvision's transforms of those names with Pillow's bilinear filter, which its reference recipes use. The
box of the image becomes the box of the part, so what follows needs not know that a part was taken.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from numpy.typing import NDArray
from PIL import Image

from c2d.core.errors import InputError

TRIES = 10
"""Draws of a random part before the largest centred one with an allowed ratio is taken, as in torchvision."""
TOLERANCE = 0.5
"""Px by which a box may miss the edge of its image."""

Pixels = NDArray[np.uint8]


class RandomResizedCrop(BaseTransform):
    """A random part of the image, resized to a square.

    Args:
        size: side of the square in px.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest ratio of width to height; its logarithm is uniform.
    """

    def __init__(
        self, size: int, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
    ) -> None:
        self.size, self.scale, self.ratio = size, scale, ratio

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Take a part of `results` that numpy's generator draws.

        Raises:
            InputError: the image has not one box of its own size.
        """
        image: Pixels = results["img"]
        left, top, width, height = self._part(image.shape[1], image.shape[0])
        return _with_image(results, _resized(image[top : top + height, left : left + width], self.size, self.size))

    def _part(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, width, height) in px."""
        for _ in range(TRIES):
            area = width * height * np.random.uniform(*self.scale)
            ratio = math.exp(np.random.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return np.random.randint(0, width - w + 1), np.random.randint(0, height - h + 1), w, h
        w, h = width, height
        if width / height < self.ratio[0]:
            h = min(height, round(width / self.ratio[0]))
        elif width / height > self.ratio[1]:
            w = min(width, round(height * self.ratio[1]))
        return (width - w) // 2, (height - h) // 2, w, h


class ResizedCenterCrop(BaseTransform):
    """The central square of an image whose short side is resized first.

    Args:
        size: side of the square in px.
        short: the short side in px.
    """

    def __init__(self, size: int, short: int) -> None:
        self.size, self.short = size, short

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Take the centre of `results`.

        Raises:
            InputError: the image has not one box of its own size.
        """
        image: Pixels = results["img"]
        height, width = image.shape[:2]
        least = min(width, height)
        resized = _resized(image, int(self.short * width / least), int(self.short * height / least))
        top, left = (round((side - self.size) / 2) for side in resized.shape[:2])
        return _with_image(results, resized[top : top + self.size, left : left + self.size])


def _resized(image: Pixels, width: int, height: int) -> Pixels:
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _with_image(results: dict[str, Any], part: Pixels) -> dict[str, Any]:
    height, width = results["img"].shape[:2]
    boxes = results["gt_bboxes"]
    corners = boxes.tensor.numpy()
    if corners.shape != (1, 4) or np.abs(corners[0] - (0, 0, width, height)).max() > TOLERANCE:
        raise InputError(
            f"crops.pipeline imagenet takes images with one box of their own size, and this one of {width} x {height} "
            f"px has {len(corners)} boxes {corners.tolist()!s:.60}; take pipeline: general, whose crops are of boxes"
        )
    results["img"] = np.ascontiguousarray(part)
    results["img_shape"] = side, _ = part.shape[:2]
    results["scale_factor"] = (part.shape[1] / width, side / height)
    results["gt_bboxes"] = type(boxes)(np.array([[0, 0, part.shape[1], side]], dtype=np.float32))
    return results


TRANSFORMS = (RandomResizedCrop, ResizedCenterCrop)
