"""Crop image regions by box, differentiable in the box: a spatial transformer (Jaderberg et al., NeurIPS 2015).

The literal form repeats the image once per box. Here the grids of all boxes of an image are concatenated along the
height into one grid, so that `grid_sample` reads the image in place; value and gradient are the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.ops.boxes import add_context, clip_to_image, sampling_grids

MAX_WASTE = 1.25
"""Grids of a batch are padded to the image with the most boxes if that multiplies the samples by at most this factor;
otherwise each image has a call of its own."""


def crop_and_resize(
    images: Tensor, boxes: Tensor, image_index: Tensor, size: int, chunk: int | None = None, *, context: float = 0.0
) -> Tensor:
    """Crop regions of images, resized to size x size by bilinear sampling with zeros outside (`align_corners=False`).

    Args:
        images: (B, 3, H, W). Gets no gradient.
        boxes: (K, 4) xyxy, px of `images`; clipped to the (padded) image here. Gets the gradient.
        image_index: (K,) long, the image of each box.
        size: side of the regions in px.
        chunk: maximum number of boxes in one sampling call; does not change the value. None: all in one.
        context: each side of a clipped box is moved outwards by this share of its width or height; what lies outside
            the image is zero.

    Returns:
        (K, 3, size, size), in fp32 (fp64 for fp64 images) also under autocast, since a half-precision grid would move
        samples by whole pixels.
    """
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    with torch.autocast(images.device.type, enabled=False):
        images, boxes = images.detach().to(dtype), boxes.to(dtype)
        if chunk is None or len(boxes) <= chunk:
            return _crop(images, boxes, image_index, size, context)
        parts = zip(boxes.split(chunk), image_index.split(chunk), strict=True)
        return torch.cat([_crop(images, b, i, size, context) for b, i in parts])


def _crop(images: Tensor, boxes: Tensor, image_index: Tensor, size: int, context: float) -> Tensor:
    n_images, channels, height, width = images.shape
    if len(boxes) == 0:
        # Attached to the boxes, so that an empty batch still has a graph.
        return boxes.sum() * images.new_zeros(0, channels, size, size)
    clipped = clip_to_image(boxes, height, width)
    grids = sampling_grids(add_context(clipped, context) if context else clipped, size, height, width)
    order = torch.argsort(image_index, stable=True)
    grouped = bool((image_index.diff() >= 0).all())
    if not grouped:
        grids = grids.index_select(0, order)
    counts = torch.bincount(image_index, minlength=n_images).tolist()
    # `grid_sample` takes one grid per image, so all must have the same number of samples.
    if n_images * max(counts) <= MAX_WASTE * len(boxes):
        regions = _one_call(images, grids, counts)
    else:
        parts = zip(images.split(1), grids.split(counts), counts, strict=True)
        regions = torch.cat([_one_call(image, grid, [n]) for image, grid, n in parts if n])
    # index_select, because the backward pass of indexing is slow. Usually boxes are grouped by image already.
    return regions if grouped else regions.index_select(0, torch.argsort(order))


def _one_call(images: Tensor, grids: Tensor, counts: list[int]) -> Tensor:
    """Grids (K, s, s, 2) grouped by image, counts[i] of them for image i, sampled in one call: (K, 3, s, s)."""
    n_images, channels = images.shape[:2]
    size, most = grids.shape[1], max(counts)
    if len(grids) < n_images * most:
        # Images with fewer boxes get zero grids; their samples are dropped below, so they have no gradient.
        filled = torch.cat([torch.arange(n, device=grids.device) + i * most for i, n in enumerate(counts)])
        padded = grids.new_zeros(n_images * most, size, size, 2).index_copy(0, filled, grids)
    else:
        filled, padded = None, grids
    folded = padded.reshape(n_images, most * size, size, 2)
    sampled = F.grid_sample(images, folded, mode="bilinear", padding_mode="zeros", align_corners=False)
    regions = sampled.reshape(n_images, channels, most, size, size).transpose(1, 2).flatten(0, 1)
    return regions if filled is None else regions.index_select(0, filled)
