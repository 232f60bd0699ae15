"""Draw the surroundings of the beetles: ground, leaves, pebbles, blades of grass."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32 everywhere; OpenCV's type hints are wider

# Mean colours (RGB) of moss, soil, sand, bark, stone and leaf litter: all duller than a beetle's shell.
_GROUNDS = ((104, 122, 84), (112, 94, 78), (168, 154, 126), (96, 82, 70), (134, 134, 130), (128, 112, 80))


def _noise(size: int, cells: int, rng: np.random.Generator) -> Array:
    """Smooth noise (size, size) in about -1..1 with `cells` bumps a side."""
    coarse = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def draw_ground(size: int, rng: np.random.Generator) -> Array:
    """Draw a textured ground, lit from one side: (size, size, 3) float32, RGB 0-255."""
    tone = np.asarray(_GROUNDS[rng.integers(len(_GROUNDS))], np.float32) + rng.uniform(-12, 12, 3).astype(np.float32)
    rough = 11 * _noise(size, 4, rng) + 8 * _noise(size, 14, rng) + 6 * _noise(size, size // 4, rng)
    if rng.uniform() < 0.35:  # grain, as on bark and on leaves
        grain = cv2.resize(
            rng.standard_normal((size // 3, 4)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
        )
        turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(0, 180), 1.5)
        rough += 10 * cv2.warpAffine(grain, turn, (size, size), borderMode=cv2.BORDER_REFLECT)
    tint = np.stack([_noise(size, 3, rng) for _ in range(3)], -1) * 5
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    gx, gy = rng.uniform(-14, 14, 2).astype(np.float32)
    return tone + tint + (rough + gx * ramp[None, :] + gy * ramp[:, None])[..., None]


def _blend(image: Array, mask: Array, rgb: Array) -> None:
    image += mask[..., None] * (rgb - image)


def add_leaf(image: Array, rng: np.random.Generator) -> None:
    """Lay one pointed leaf with veins on the ground: a textured distractor without legs."""
    size = image.shape[0]
    length, aspect = rng.uniform(0.15, 0.45) * size, rng.uniform(0.25, 0.45)
    (cx, cy), angle = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
    gy, gx = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = (c * (gx - cx) + s * (gy - cy)) / (0.5 * length)
    v = (c * (gy - cy) - s * (gx - cx)) / (0.5 * length)
    edge = aspect * (1 - u * u) - np.abs(v)
    mask = np.clip(edge * length * 0.5, 0, 1) * (np.abs(u) < 1)
    green = np.asarray([rng.uniform(70, 150), rng.uniform(95, 150), rng.uniform(40, 80)], np.float32)
    veins = 1 - 0.22 * ((np.abs(v) < 0.03) | (np.mod(u * 4 + np.abs(v) * 4, 1) < 0.16))
    _blend(image, mask, green * veins.astype(np.float32)[..., None])


def add_pebble(image: Array, rng: np.random.Generator) -> None:
    """Lay one grey, unmarked pebble on the ground: a round distractor."""
    size = image.shape[0]
    a = rng.uniform(0.03, 0.11) * size
    b = a * rng.uniform(0.7, 1.0)
    (cx, cy), angle = rng.uniform(0, size, 2), rng.uniform(0, np.pi)
    gy, gx = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    d = np.hypot((c * (gx - cx) + s * (gy - cy)) / a, (c * (gy - cy) - s * (gx - cx)) / b)
    mask = np.clip((1 - d) * b, 0, 1)
    grey = np.float32(rng.uniform(95, 165)) + rng.uniform(-10, 10, 3).astype(np.float32)
    light = 1.1 - 0.3 * d * d + 0.12 * ((cx - gx) + (cy - gy)) / a
    _blend(image, mask, grey * np.clip(light, 0.4, 1.4)[..., None])


def draw_blade(size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """One blade of grass across the picture, in front of everything: its cover (size, size) in 0-1 and its RGB (3,)."""
    start, end = rng.uniform(-0.1, 1.1, 2) * size, rng.uniform(-0.1, 1.1, 2) * size
    if rng.uniform() < 0.5:
        start[0], end[0] = -2, size + 2
    else:
        start[1], end[1] = -2, size + 2
    bend = (start + end) / 2 + rng.uniform(-0.15, 0.15, 2) * size
    t = np.linspace(0, 1, 24)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    fine = 4
    canvas = np.zeros((size * fine, size * fine), np.uint8)
    width = round(rng.uniform(0.012, 0.028) * size * fine)
    cv2.polylines(canvas, [np.round(curve * fine).astype(np.int32)], False, 255, max(1, width))
    cover = cv2.resize(canvas.astype(np.float32) / 255, (size, size), interpolation=cv2.INTER_AREA)
    return cover, np.asarray([rng.uniform(90, 150), rng.uniform(120, 170), rng.uniform(50, 90)], np.float32)
