"""Images that stand in the place of optimised ones: what a student learns from them, it does not owe to the synthesis.

`noise_image` shows nothing of the targets. `procedural_image` shows where they are and tells the classes apart, by
colours and textures that are chosen here, so nothing that the teacher knows is in its pixels. Both follow from (seed,
number of the image) alone.
"""

from __future__ import annotations

import colorsys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from c2d.detectors.normalization import IMAGENET
from c2d.ops.seeding import derive_seed

Pixels = NDArray[np.uint8]
NOISE, PROCEDURAL = 1, 2
"""Purposes of the seeds."""
OCTAVES = 5
BACKGROUND_SPREAD = 28.0
"""Standard deviation of the coarsest octave, in grey levels; each finer one has half of it."""
CLOUDS = (2, 4, 8)
"""Cells of the noise inside an ellipse, by class. Stripes or rings would be known to a teacher of striped things."""
SOFT_EDGE = 0.08
"""Of an ellipse, as a share of its radius."""


def noise_image(size: tuple[int, int], seed: int, index: int) -> Pixels:
    """Draw independent normal pixels with the mean and deviation of ImageNet's channels, whatever the teacher's are.

    Args:
        size: (width, height) px.
        seed: of the run.
        index: number of the image.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    generator = np.random.default_rng(derive_seed(seed, index, NOISE))
    values = generator.standard_normal((size[1], size[0], 3)) * IMAGENET.std + IMAGENET.mean
    return _uint8(values)


def procedural_image(
    size: tuple[int, int], boxes: NDArray[np.float64], labels: NDArray[np.int64], seed: int, index: int
) -> Pixels:
    """Draw an ellipse in each box, in the colours and texture of its class, on coloured noise of several octaves.

    Args:
        size: (width, height) px.
        boxes: (G, 4) xyxy, shares of the sides; larger objects are behind smaller ones.
        labels: (G,) of the boxes.
        seed: of the run.
        index: number of the image.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    width, height = size
    generator = np.random.default_rng(derive_seed(seed, index, PROCEDURAL))
    image = _background(size, generator)
    corners = boxes * [width, height, width, height]
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    for place in np.argsort(-areas, kind="stable"):
        _draw_object(image, corners[place], int(labels[place]), generator)
    return _uint8(image)


def _background(size: tuple[int, int], generator: np.random.Generator) -> NDArray[np.float32]:
    """(height, width, 3) grey levels: a colour and noise of halving wavelength and deviation."""
    image = np.full((size[1], size[0], 3), generator.uniform(70, 185, 3), np.float32)
    for octave in range(OCTAVES):
        image += BACKGROUND_SPREAD / 2**octave * _smooth_noise(size, 2 ** (octave + 1), generator, 3)
    return image


def _draw_object(
    image: NDArray[np.float32], box: NDArray[np.float64], label: int, generator: np.random.Generator
) -> None:
    """Draw the ellipse that fills a box (4,) xyxy px."""
    centre, radius = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, 0.5)
    left, top = np.maximum(np.floor(box[:2]), 0).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    region = image[top:bottom, left:right]
    rows, columns = np.arange(region.shape[0])[:, None] + top + 0.5, np.arange(region.shape[1])[None] + left + 0.5
    x, y = (columns - centre[0]) / radius[0], (rows - centre[1]) / radius[1]
    cover = np.clip((1 - np.hypot(x, y)) / SOFT_EDGE, 0, 1)[..., None]
    first, second = class_colours(label)
    mixture = _smooth_noise((region.shape[1], region.shape[0]), CLOUDS[label % len(CLOUDS)], generator)
    share = np.clip(0.5 + 0.5 * mixture, 0, 1)
    colour = (np.asarray(first) * share + np.asarray(second) * (1 - share)) * generator.uniform(0.85, 1.1)
    region += (cover * (colour - region)).astype(np.float32)


def class_colours(label: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the two colours of a class, RGB 0-255, which depend on its index alone."""
    # The golden ratio spreads any number of hues over the circle.
    hue = (0.15 + label * 0.618034) % 1.0
    pair = colorsys.hsv_to_rgb(hue, 0.75, 0.95), colorsys.hsv_to_rgb((hue + 0.12) % 1.0, 0.6, 0.3)
    return tuple(255 * value for value in pair[0]), tuple(255 * value for value in pair[1])


def _smooth_noise(
    size: tuple[int, int], cells: int, generator: np.random.Generator, channels: int = 1
) -> NDArray[np.float32]:
    """(height, width, channels) normal values on a coarse grid of about `cells` a side, interpolated."""
    coarse = generator.standard_normal((cells + 2, cells + 2, channels)).astype(np.float32)
    fine: NDArray[np.float32] = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.float32)
    return fine.reshape(size[1], size[0], channels)


def _uint8(values: NDArray[Any]) -> Pixels:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
