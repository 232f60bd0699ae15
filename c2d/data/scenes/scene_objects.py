"""Eight species of beetle in four genera: a genus has its range of colours, its species differ in marking alone.

All share one silhouette and one pose family. The species of a genus differ in the texture of the wing cases
(bands, stripes, chequer, ...) or number and place of small parts (spots). A crop of the object shows that at once; the
coarse feature maps of a compact detector learn the genus soon and confuse its species for long.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32 everywhere; OpenCV's type hints are wider
Marking = Callable[[Array, Array, np.random.Generator], NDArray[np.bool_]]

# Body plan in units of half the body length; x to the right, y towards the tail, head at y = -1.
_ELYTRA = (0.0, 0.20, 0.64, 0.80)  # centre x, y, semi-axes
_THORAX = (0.0, -0.60, 0.42, 0.24)
_HEAD = (0.0, -0.84, 0.22, 0.16)
_LEGS = (((0.50, -0.30), (0.82, -0.52)), ((0.58, 0.15), (0.92, 0.20)), ((0.52, 0.62), (0.76, 0.88)))
_ANTENNA = ((0.12, -0.92), (0.36, -1.12))
_REACH = 1.25  # furthest part from the centre


def _spots(s: Array, t: Array, places: list[tuple[float, float]], radius: float) -> NDArray[np.bool_]:
    mask = np.zeros(s.shape, bool)
    for x, y in places:
        # wing cases are longer than wide: undo the stretch, so that spots are round
        mask |= (s - x) ** 2 + (1.25 * (t - y)) ** 2 < radius**2
    return mask


def _banded(s: Array, t: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    return np.sin(2 * np.pi * rng.uniform(1.05, 1.25) * t + rng.uniform(-0.6, 0.6)) > 0.1


def _striped(s: Array, t: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    return np.cos(2 * np.pi * rng.uniform(0.95, 1.1) * s) > 0.1


def _spotted(s: Array, t: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    places = [(0.0, -0.62), (-0.5, -0.2), (0.5, -0.2), (0.0, 0.1), (-0.42, 0.5), (0.42, 0.5)]
    return _spots(s, t, places, rng.uniform(0.26, 0.31))


def _chequered(s: Array, t: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    pitch = rng.uniform(0.75, 0.9)
    return np.sin(2 * np.pi * pitch * s) * np.sin(2 * np.pi * pitch * t + rng.uniform(-0.4, 0.4)) > 0.0


def _ringed(s: Array, t: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    return np.cos(2 * np.pi * rng.uniform(1.0, 1.15) * np.hypot(s, t)) > 0.05


def _chevroned(s: Array, t: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    slope = rng.uniform(0.85, 1.05)
    return np.sin(2 * np.pi * rng.uniform(1.0, 1.15) * (t + slope * np.abs(s)) + rng.uniform(-0.6, 0.6)) > 0.1


def _saddled(s: Array, t: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    return t < rng.uniform(-0.15, 0.05)


def _paired(s: Array, t: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    y = rng.uniform(-0.15, 0.15)
    return _spots(s, t, [(-0.48, y), (0.48, y)], rng.uniform(0.38, 0.44))


# Range of hues of each genus (a turn of the colour circle is 1): red to yellow, green, blue, violet to pink.
_GENERA = ((-0.02, 0.14), (0.25, 0.47), (0.53, 0.69), (0.76, 0.92))


@dataclass(frozen=True)
class Species:
    """Appearance of a species: its genus (an index) and the marking of its wing cases."""

    genus: int
    marking: Marking


# Order of the class list. Common species come first (see scenes.py); genera alternate, so that the rare classes are not
# all of one kind.
SPECIES: dict[str, Species] = {
    "banded": Species(0, _banded),
    "spotted": Species(1, _spotted),
    "chequered": Species(2, _chequered),
    "saddled": Species(3, _saddled),
    "striped": Species(0, _striped),
    "ringed": Species(1, _ringed),
    "chevroned": Species(2, _chevroned),
    "paired": Species(3, _paired),
}


@dataclass(frozen=True)
class Sprite:
    """A drawn object: `rgb` (h, w, 3) in 0-255 and `alpha` (h, w) in 0-1, and its exact extent in sprite pixels."""

    rgb: Array
    alpha: Array
    extent: tuple[float, float, float, float]  # x1, y1, x2, y2


def _colour(
    rng: np.random.Generator, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> Array:
    """A random RGB colour (3,), 0-255, within ranges of hue, saturation and value in 0-1."""
    rgb = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value))
    return np.asarray(rgb, np.float32) * 255


def _ellipse(x: Array, y: Array, shape: tuple[float, float, float, float]) -> Array:
    return ((x - shape[0]) / shape[2]) ** 2 + ((y - shape[1]) / shape[3]) ** 2


def _limbs(half: int, fine: int, length: float, cosine: float, sine: float) -> Array:
    """Legs and antennae on the fine grid (2 half fine, 2 half fine), 0 or 1."""
    limbs = np.zeros((2 * half * fine, 2 * half * fine), np.uint8)
    scale, middle = 0.5 * length * fine, half * fine
    for part in (*_LEGS, _ANTENNA):
        for side in (-1, 1):
            start, end = (
                (
                    round(scale * (cosine * side * x - sine * y)) + middle,
                    round(scale * (sine * side * x + cosine * y)) + middle,
                )
                for x, y in part
            )
            cv2.line(limbs, start, end, 1, max(1, round(0.045 * length * fine)))
    return limbs


def draw_beetle(species: str | None, length: float, angle: float, rng: np.random.Generator) -> Sprite:
    """Draw one beetle, `length` pixels from head to tail, turned by `angle` (radians); `None` draws it unmarked.

    Everything is evaluated on a grid finer than the pixels and averaged down, so edges are anti-aliased equally at all
    sizes and the extent is exact to the fine grid.
    """
    fine = 4 if length < 40 else 2
    half = int(np.ceil(0.5 * length * _REACH)) + 1
    n = 2 * half * fine
    axis = ((np.arange(n, dtype=np.float32) + 0.5) / fine - half) / np.float32(0.5 * length)
    gx, gy = np.meshgrid(axis, axis)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = c * gx + s * gy, c * gy - s * gx  # into the beetle's own frame

    elytra, thorax, head = (_ellipse(x, y, part) for part in (_ELYTRA, _THORAX, _HEAD))
    shell = elytra < 1
    kind = SPECIES[species] if species is not None else None
    hue = _GENERA[kind.genus if kind else int(rng.integers(len(_GENERA)))]
    base = _colour(rng, hue, (0.45, 0.9), (0.75, 1.0))
    mark = _colour(rng, (0.0, 1.0), (0.3, 0.9), (0.08, 0.32))
    skin = _colour(rng, (0.0, 1.0), (0.3, 0.8), (0.15, 0.5))
    rgb = np.empty((n, n, 3), np.float32)
    rgb[:] = skin * 0.6
    rgb[(thorax < 1) | (head < 1)] = skin
    rgb[shell] = base
    if kind is not None:
        st, tt = (x - _ELYTRA[0]) / _ELYTRA[2], (y - _ELYTRA[1]) / _ELYTRA[3]
        rgb[shell & kind.marking(st, tt, rng)] = mark
    rgb[shell & (np.abs(x) < 0.03)] = skin * 0.5  # the seam between the wing cases
    # a shiny, rounded shell: darker towards the rim, one highlight from the upper left of the picture
    depth = np.minimum(np.minimum(elytra, thorax), np.minimum(head, 1))
    light = 1.08 - 0.35 * depth * depth
    light += 0.45 * np.exp(-(((gx + 0.22) ** 2 + (gy + 0.25) ** 2) / 0.03))
    rgb *= light[..., None]
    rgb[(elytra > 0.86) & shell] *= 0.55

    mask = shell | (thorax < 1) | (head < 1) | (_limbs(half, fine, length, float(c), float(s)) > 0)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    extent = (columns[0] / fine, rows[0] / fine, (columns[-1] + 1) / fine, (rows[-1] + 1) / fine)
    alpha: Array = mask.astype(np.float32)
    size = (2 * half, 2 * half)
    small = cv2.resize(np.clip(rgb, 0, 255) * alpha[..., None], size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    return Sprite(small / np.maximum(alpha, 1e-3)[..., None], alpha, extent)
