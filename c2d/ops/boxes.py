"""The only place where boxes change frame.

A box is (x1, y1, x2, y2) in pixel-edge coordinates: pixel i covers [i, i + 1], so the full image is (0, 0, W, H).
"""

from __future__ import annotations

import torch
from torch import Tensor

#: The smallest side of a region in pixels: keeps a degenerate prediction a region, with finite gradients.
MIN_SIDE = 1e-3


def clamp(boxes: Tensor, height: int, width: int, min_side: float = MIN_SIDE) -> Tensor:
    """Boxes (K, 4) xyxy moved into an image of height x width pixels, each side at least `min_side` long.

    All four coordinates are clamped (a one-sided clamp turns a box that lies outside into a mirrored one). A clamped
    coordinate has gradient 0. A box entirely outside becomes a sliver at the border that it left by.
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    # A sliver at the far border stays inside the image too.
    x1, x2 = x1.clamp(0, width - min_side), x2.clamp(0, width)
    y1, y2 = y1.clamp(0, height - min_side), y2.clamp(0, height)
    # where() instead of maximum(): a side that is long enough keeps its own gradient, without ties.
    x2 = torch.where(x2 - x1 < min_side, x1 + min_side, x2)
    y2 = torch.where(y2 - y1 < min_side, y1 + min_side, y2)
    return torch.stack([x1, y1, x2, y2], dim=-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4) and (..., 4), broadcast against each other; 0 where both are empty."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.unbind(-1), b.unbind(-1)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    both = width * height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both
    return torch.where(union > 0, both / torch.where(union > 0, union, 1), 0)


def to_grid(boxes: Tensor, size: int, height: int, width: int) -> Tensor:
    """Sampling grids (K, size, size, 2) of boxes (K, 4) for `grid_sample(..., align_corners=False)`.

    Sample j of a row sits at `x1 + (j + 0.5) / size * (x2 - x1)` pixels, as `affine_grid` with the matrix
    [[(x2-x1)/W, 0, -1+(x1+x2)/W], [0, (y2-y1)/H, -1+(y1+y2)/H]] places it; the last axis holds (x, y) in [-1, 1].
    """
    steps = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    x = (x1 + steps * (x2 - x1)) * (2 / width) - 1
    y = (y1 + steps * (y2 - y1)) * (2 / height) - 1
    shape = (len(boxes), size, size)
    return torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1)
