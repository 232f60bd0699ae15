"""Random shift, flip and cutout of synthesised images and their boxes together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.specs.impressions_schedule import PixelAugmentation

MIN_VISIBLE = 0.5
"""A box of which less stays inside the shifted image is left out of this draw."""


@dataclass(frozen=True)
class Draw:
    """One draw, for a whole batch.

    Attributes:
        right, down: shift of the picture in px.
        flip: whether it is flipped horizontally, after the shift.
        holes: per image (x1, y1, x2, y2) px, filled with the mean colour at the end; an empty list for none.
    """

    right: int = 0
    down: int = 0
    flip: bool = False
    holes: tuple[tuple[int, int, int, int], ...] = ()

    def apply_images(self, images: Tensor) -> Tensor:
        """Return the changed images, (B, 3, H, W) of normalised pixels; edge pixels fill what the shift uncovers."""
        if self.right or self.down:
            height, width = images.shape[2:]
            x, y = max(self.right, -self.right), max(self.down, -self.down)
            wide = F.pad(images, (x, x, y, y), mode="replicate")
            images = wide[..., y - self.down : y - self.down + height, x - self.right : x - self.right + width]
        if self.flip:
            images = images.flip(3)
        if self.holes:
            mask = torch.ones(len(images), 1, *images.shape[2:], device=images.device)
            for row, (x1, y1, x2, y2) in zip(mask, self.holes, strict=True):
                row[:, y1:y2, x1:x2] = 0
            images = images * mask
        return images

    def apply_boxes(self, boxes: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return (changed boxes, clipped to the image; mask of those that stay).

        Args:
            boxes: (G, 4) xyxy, px.
            size: px, side of the image.
        """
        moved = boxes + boxes.new_tensor([self.right, self.down, self.right, self.down])
        inside = moved.clamp(0, size)
        area = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
        before = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        stays = area >= MIN_VISIBLE * before
        if self.flip:
            inside = torch.stack([size - inside[:, 2], inside[:, 1], size - inside[:, 0], inside[:, 3]], dim=1)
        return inside, stays


def draw(recipe: PixelAugmentation, images: int, size: int, rng: np.random.Generator) -> Draw:
    """Draw the changes of one batch.

    Args:
        recipe: ranges.
        images: images of the batch.
        size: px, side of the images.
        rng: source of the random numbers.
    """
    right, down = (int(value) for value in rng.integers(-recipe.jitter, recipe.jitter + 1, 2))
    flip = bool(recipe.flip and rng.random() < 0.5)
    side = round(recipe.cutout * size)
    corners = rng.integers(0, size - side + 1, (images if side else 0, 2)).tolist()
    holes = tuple((x, y, x + side, y + side) for x, y in corners)
    return Draw(right, down, flip, holes)
