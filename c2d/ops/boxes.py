"""Boxes: clipping, IoU, and the conversion from px to sampling grids (the only change of frame in c2d).

A box is (x1, y1, x2, y2) in pixel-edge coordinates: pixel i covers [i, i + 1], so the full image is (0, 0, W, H).
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_SIDE = 1e-3
"""Smallest side of a clipped box in px, so that a degenerate prediction has an area and finite gradients."""


def clip_to_image(boxes: Tensor, height: int, width: int, min_side: float = MIN_SIDE) -> Tensor:
    """Clip boxes to an image; each side is at least `min_side` long.

    All four coordinates are clamped at both ends; with one end only, a box outside the image would be mirrored. A
    clamped coordinate has gradient 0. A box entirely outside becomes a strip of width `min_side` at the nearest border.

    Args:
        boxes: (K, 4) xyxy, px of the image.
        height, width: of the image in px.
        min_side: px.

    Returns:
        (K, 4) xyxy, px.
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    # The strip of a box beyond the right or lower border lies inside the image too.
    x1, x2 = x1.clamp(0, width - min_side), x2.clamp(0, width)
    y1, y2 = y1.clamp(0, height - min_side), y2.clamp(0, height)
    # where() instead of maximum(): a side that is long enough keeps its own gradient, without ties.
    x2 = torch.where(x2 - x1 < min_side, x1 + min_side, x2)
    y2 = torch.where(y2 - y1 < min_side, y1 + min_side, y2)
    return torch.stack([x1, y1, x2, y2], dim=-1)


def add_context(boxes: Tensor, context: float) -> Tensor:
    """Move each side of boxes (K, 4) xyxy outwards by `context` times their width or height; return (K, 4) xyxy."""
    margin = context * (boxes[:, 2:] - boxes[:, :2])
    return torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1)


def broadcast_iou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the IoU of boxes a (..., 4) and b (..., 4), xyxy, broadcast against each other; 0 where both are empty.

    Returns:
        (...,), the broadcast shape without the last axis.
    """
    return _quotient(*_intersection_and_union(a, b))


def broadcast_giou(a: Tensor, b: Tensor) -> Tensor:
    """Compute the generalised IoU of boxes a (..., 4) and b (..., 4), xyxy, broadcast against each other.

    The IoU less the share of the smallest enclosing box that neither covers: in [-1, 1], 1 for equal boxes.

    Returns:
        (...,), the broadcast shape without the last axis.
    """
    intersection, union = _intersection_and_union(a, b)
    sides = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    enclosing = sides[..., 0] * sides[..., 1]
    return _quotient(intersection, union) - _quotient(enclosing - union, enclosing)


def _intersection_and_union(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.unbind(-1), b.unbind(-1)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    intersection = width * height
    return intersection, (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection


def _quotient(part: Tensor, whole: Tensor) -> Tensor:
    # The inner where keeps the gradient finite: 0 / 0 in the unused branch would give NaN.
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1), 0)


def sampling_grids(boxes: Tensor, size: int, height: int, width: int) -> Tensor:
    """Convert boxes to sampling grids for `grid_sample(..., align_corners=False)`.

    Sample j of a row sits at `x1 + (j + 0.5) / size * (x2 - x1)` pixels, as `affine_grid` with the matrix
    [[(x2-x1)/W, 0, -1+(x1+x2)/W], [0, (y2-y1)/H, -1+(y1+y2)/H]] places it.

    Args:
        boxes: (K, 4) xyxy, px of the image.
        size: samples per side.
        height, width: of the image in px.

    Returns:
        (K, size, size, 2); the last axis holds (x, y) in [-1, 1].
    """
    # Centres of the samples: with align_corners=False the ends of the grid are the edges of the box.
    steps = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    x = (x1 + steps * (x2 - x1)) * (2 / width) - 1
    y = (y1 + steps * (y2 - y1)) * (2 / height) - 1
    shape = (len(boxes), size, size)
    return torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1)
