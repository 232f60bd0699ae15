"""Ground-truth boxes on feature maps: which level (P1), which cells (P2), means over cells (P3). Vectorised, fp32.

Names in brackets are those of the methods' common primitives. Boxes are (G, 4) xyxy in pixels of the padded batch
tensor; a map of stride s has its cell (row, col) at pixels [s * col, s * (col + 1)).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from c2d.detectors.batch import Batch


def level_of(boxes: Tensor, base_px: float, levels: int) -> Tensor:
    """(P1) Level of each box: floor(log2(sqrt((w + 1)(h + 1)) / base + 1e-6)), clamped to 0..levels-1. (G,) long."""
    width, height = boxes[:, 2] - boxes[:, 0] + 1, boxes[:, 3] - boxes[:, 1] + 1
    scale = torch.log2(torch.sqrt(width * height) / base_px + 1e-6).floor()
    return scale.clamp(0, levels - 1).long()


def bounds(boxes: Tensor, stride: float, height: int, width: int) -> Tensor:
    """(P2) Half-open cells (x0, y0, x1, y1) of boxes on a height x width map; (G, 4) long, never empty.

    Corners are cut to whole cells. A box without a whole cell in one direction becomes the single cell of its corner.
    """
    x0, y0, x1, y1 = (boxes / stride).trunc().long().unbind(1)
    x0, y0, x1, y1 = x0.clamp(min=0), y0.clamp(min=0), x1.clamp(max=width), y1.clamp(max=height)
    degenerate = (x0 >= x1) | (y0 >= y1)
    x0, y0 = x0.clamp(max=width - 1), y0.clamp(max=height - 1)
    x1, y1 = torch.where(degenerate, x0 + 1, x1), torch.where(degenerate, y0 + 1, y1)
    return torch.stack([x0, y0, x1, y1], 1)


def inside(cells: Tensor, height: int, width: int) -> Tensor:
    """Which cells lie in (x0, y0, x1, y1), half-open: (G, 4) long -> (G, height, width) bool."""
    rows = torch.arange(height, device=cells.device)[None, :, None]
    cols = torch.arange(width, device=cells.device)[None, None, :]
    x0, y0, x1, y1 = (edge[:, None, None] for edge in cells.unbind(1))
    return (rows >= y0) & (rows < y1) & (cols >= x0) & (cols < x1)


def per_image(values: Tensor, image: Tensor, images: int) -> Tensor:
    """Maximum over the boxes of each image: (G, h, w) and (G,) long -> (images, h, w); 0 without boxes."""
    found = values.new_zeros(images, *values.shape[1:])
    return found.scatter_reduce(0, image[:, None, None].expand_as(values), values, "amax")


def object_masks(
    batch: Batch, maps: Sequence[Tensor], strides: Sequence[int], base_px: float, levelled: bool = True
) -> list[Tensor]:
    """Per level (B, 1, h, w) in {0, 1}: cells of boxes that belong to this level (or, not `levelled`, of all boxes).

    Args:
        maps: (B, M, h, w) each, for their sizes.
        strides: px per cell of each.
        base_px: of `level_of`.
    """
    boxes, image = batch.all_boxes()
    level = level_of(boxes, base_px, len(maps))
    found = []
    for index, (one, stride) in enumerate(zip(maps, strides, strict=True)):
        height, width = one.shape[-2:]
        chosen = level == index if levelled else torch.ones_like(level, dtype=torch.bool)
        cells = inside(bounds(boxes[chosen], stride, height, width), height, width)
        found.append(per_image(cells.float(), image[chosen], len(batch.boxes))[:, None])
    return found


def painted(boxes: Tensor, image: Tensor, values: Tensor, shape: tuple[int, int, int], stride: float) -> Tensor:
    """Boxes (G, 4) painted one over the other with values (G,) >= 0 on zeros: (images, height, width).

    A box without a whole cell paints the cell of its corner where its value is the greater one.
    """
    images, height, width = shape
    x0, y0, x1, y1 = bounds(boxes, stride, height, width).unbind(1)
    corners = (boxes / stride).trunc()
    whole = ((x1 - x0) * (y1 - y0) > 1) | (corners[:, 2:] > corners[:, :2]).all(1)
    first = (image * height + y0) * width + x0
    # One entry per covered cell, for memory that grows with the boxes' area and not with boxes x cells.
    wide, area = x1 - x0, torch.where(whole, (x1 - x0) * (y1 - y0), 0)
    owner = torch.repeat_interleave(area)
    within = torch.arange(len(owner), device=boxes.device) - (area.cumsum(0) - area)[owner]
    cells = first[owner] + within // wide[owner] * width + within % wide[owner]
    last = boxes.new_full((images * height * width,), -1, dtype=torch.long).scatter_reduce_(0, cells, owner, "amax")
    found = torch.where(last >= 0, torch.cat([values, values.new_zeros(1)])[last], 0)
    later = ~whole & (torch.arange(len(boxes), device=boxes.device) > last[first])
    found = found.scatter_reduce(0, first, torch.where(later, values, 0), "amax")
    return found.view(shape)


def square_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """(P6) Sum over channels of (S - T)^2: (B, M, h, w) -> (B, 1, h, w). Masks are never repeated over channels."""
    return (student - teacher).square().sum(1, keepdim=True)


def cell_means(maps: Tensor, image: Tensor, cells: Tensor) -> Tensor:
    """(P3) Mean of maps (B, M, h, w) over half-open cells (G, 4) of images (G,): (G, M), differentiable in the maps.

    One integral image for all boxes of an image, summed in fp64: differences of large sums would lose fp32's digits.
    Image by image, because fp64 maps of a whole batch take gigabytes on a fine level.
    """
    order = image.argsort(stable=True)
    counts = torch.bincount(image, minlength=len(maps)).tolist()
    found = [_cell_means(one, part) for one, part in zip(maps, cells[order].split(counts), strict=True)]
    return torch.cat(found)[order.argsort()]


def _cell_means(maps: Tensor, cells: Tensor) -> Tensor:
    """(M, h, w) and (G, 4) -> (G, M)."""
    if not len(cells):
        return maps.sum() * maps.new_zeros(0, len(maps))  # on the graph
    total = torch.nn.functional.pad(maps.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    x0, y0, x1, y1 = cells.unbind(1)
    summed = total[:, y1, x1] - total[:, y0, x1] - total[:, y1, x0] + total[:, y0, x0]
    return (summed / ((x1 - x0) * (y1 - y0))).T.to(maps.dtype)
