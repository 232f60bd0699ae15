"""Ground-truth boxes on feature maps: which level (P1), which cells (P2), means over cells (P3). Vectorised, fp32.

Names in brackets are those of the methods' common primitives. Boxes are (G, 4) xyxy in px of the padded batch
tensor; cell (row, col) of a map of stride s covers the px [s * col, s * (col + 1)) in x, likewise in y.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from c2d.detectors.batch import Batch


def assign_levels(boxes: Tensor, base_px: float, levels: int) -> Tensor:
    """(P1) Assign each box to a level: floor(log2(sqrt((w + 1)(h + 1)) / base_px + 1e-6)), clamped to 0..levels-1.

    Args:
        boxes: (G, 4) xyxy, px.
        base_px: half the box size in px at which level 1 begins.
        levels: number of levels.

    Returns:
        (G,) long.
    """
    # + 1 is the old convention of boxes that include their last pixel, which the released codes keep in this rule.
    width, height = boxes[:, 2] - boxes[:, 0] + 1, boxes[:, 3] - boxes[:, 1] + 1
    scale = torch.log2(torch.sqrt(width * height) / base_px + 1e-6).floor()
    return scale.clamp(0, levels - 1).long()


def cell_bounds(boxes: Tensor, stride: float, height: int, width: int) -> Tensor:
    """(P2) Convert boxes to half-open ranges of cells on a map, never empty.

    Corners are truncated to cells. A box without a whole cell in one direction becomes the single cell of its corner.

    Args:
        boxes: (G, 4) xyxy, px.
        stride: px per cell.
        height, width: of the map in cells.

    Returns:
        (G, 4) long: x0, y0, x1, y1 in cells.
    """
    x0, y0, x1, y1 = (boxes / stride).trunc().long().unbind(1)
    x0, y0, x1, y1 = x0.clamp(min=0), y0.clamp(min=0), x1.clamp(max=width), y1.clamp(max=height)
    # Before the clamp below: a box that begins on the far border is degenerate, and becomes the last cell.
    degenerate = (x0 >= x1) | (y0 >= y1)
    x0, y0 = x0.clamp(max=width - 1), y0.clamp(max=height - 1)
    x1, y1 = torch.where(degenerate, x0 + 1, x1), torch.where(degenerate, y0 + 1, y1)
    return torch.stack([x0, y0, x1, y1], 1)


def cell_masks(cells: Tensor, height: int, width: int) -> Tensor:
    """Convert half-open ranges of cells (G, 4), x0 y0 x1 y1, to masks (G, height, width) bool."""
    rows = torch.arange(height, device=cells.device)[None, :, None]
    cols = torch.arange(width, device=cells.device)[None, None, :]
    x0, y0, x1, y1 = (edge[:, None, None] for edge in cells.unbind(1))
    return (rows >= y0) & (rows < y1) & (cols >= x0) & (cols < x1)


def max_per_image(values: Tensor, image: Tensor, images: int) -> Tensor:
    """Reduce maps of boxes to images by their maximum; 0 without boxes.

    Args:
        values: (G, h, w), >= 0.
        image: (G,) long.
        images: their number B.

    Returns:
        (B, h, w).
    """
    empty = values.new_zeros(images, *values.shape[1:])
    # The zeros take part in the maximum, therefore values >= 0.
    return empty.scatter_reduce(0, image[:, None, None].expand_as(values), values, "amax")


def object_masks(
    batch: Batch, maps: Sequence[Tensor], strides: Sequence[int], base_px: float, by_level: bool = True
) -> list[Tensor]:
    """Compute the mask of each level: 1 in the cells of ground-truth boxes, else 0.

    Args:
        batch: with the boxes.
        maps: per level (B, M, h, w), for their sizes.
        strides: px per cell of each.
        base_px: of `assign_levels`.
        by_level: count a box on its own level only; else on every level.

    Returns:
        Per level (B, 1, h, w) fp32.
    """
    boxes, image = batch.all_boxes()
    level = assign_levels(boxes, base_px, len(maps))
    masks = []
    for index, (one, stride) in enumerate(zip(maps, strides, strict=True)):
        height, width = one.shape[-2:]
        chosen = level == index if by_level else torch.ones_like(level, dtype=torch.bool)
        cells = cell_masks(cell_bounds(boxes[chosen], stride, height, width), height, width)
        masks.append(max_per_image(cells.float(), image[chosen], len(batch.boxes))[:, None])
    return masks


def paint_boxes(boxes: Tensor, image: Tensor, values: Tensor, shape: tuple[int, int, int], stride: float) -> Tensor:
    """Paint boxes with their values onto zero maps; a later box overwrites an earlier one.

    A box without a whole cell paints the cell of its corner where its value is the greater one.

    Args:
        boxes: (G, 4) xyxy, px.
        image: (G,) long.
        values: (G,), >= 0.
        shape: (images, height, width) of the result, in cells.
        stride: px per cell.

    Returns:
        (images, height, width).
    """
    images, height, width = shape
    x0, y0, x1, y1 = cell_bounds(boxes, stride, height, width).unbind(1)
    corners = (boxes / stride).trunc()
    whole = ((x1 - x0) * (y1 - y0) > 1) | (corners[:, 2:] > corners[:, :2]).all(1)
    first = (image * height + y0) * width + x0
    # One entry per covered cell: memory grows with the area of the boxes, not with boxes x cells.
    wide, area = x1 - x0, torch.where(whole, (x1 - x0) * (y1 - y0), 0)
    owner = torch.repeat_interleave(area)
    within = torch.arange(len(owner), device=boxes.device) - (area.cumsum(0) - area)[owner]
    cells = first[owner] + within // wide[owner] * width + within % wide[owner]
    # The box with the highest index wins in each cell, in any order of the scatter.
    last = boxes.new_full((images * height * width,), -1, dtype=torch.long).scatter_reduce_(0, cells, owner, "amax")
    painted = torch.where(last >= 0, torch.cat([values, values.new_zeros(1)])[last], 0)
    later = ~whole & (torch.arange(len(boxes), device=boxes.device) > last[first])
    painted = painted.scatter_reduce(0, first, torch.where(later, values, 0), "amax")
    return painted.view(shape)


def square_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """(P6) Sum (S - T)^2 over channels: (B, M, h, w) -> (B, 1, h, w), so that masks need no channel axis."""
    return (student - teacher).square().sum(1, keepdim=True)


def cell_means(maps: Tensor, image: Tensor, cells: Tensor) -> Tensor:
    """(P3) Average maps over the cells of each box; differentiable in the maps.

    One integral image for all boxes of an image, summed in fp64, because differences of large sums lose digits in fp32.
    Image by image, because fp64 maps of a whole batch take gigabytes on a fine level.

    Args:
        maps: (B, M, h, w).
        image: (G,) long.
        cells: (G, 4) long, half-open, from `cell_bounds`.

    Returns:
        (G, M).
    """
    order = image.argsort(stable=True)
    counts = torch.bincount(image, minlength=len(maps)).tolist()
    means = [_cell_means(one, part) for one, part in zip(maps, cells[order].split(counts), strict=True)]
    return torch.cat(means)[order.argsort()]


def _cell_means(maps: Tensor, cells: Tensor) -> Tensor:
    """(M, h, w) and (G, 4) -> (G, M)."""
    if not len(cells):
        return maps.sum() * maps.new_zeros(0, len(maps))  # on the graph
    total = torch.nn.functional.pad(maps.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    x0, y0, x1, y1 = cells.unbind(1)
    sums = total[:, y1, x1] - total[:, y0, x1] - total[:, y1, x0] + total[:, y0, x0]
    return (sums / ((x1 - x0) * (y1 - y0))).T.to(maps.dtype)
