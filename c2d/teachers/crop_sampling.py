"""Crops of ground-truth boxes, cut from a detection batch: sample the boxes, then crop and resize them.

A crop is the ground-truth box, with the context of the teacher's schedule (none by default), resized to a square by the
operator that distillation uses, so a teacher is trained on the same kind of input as in distillation. Crowd regions are
left out: mmdet keeps them as ignored instances.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from c2d.detectors.batch import Batch
from c2d.ops.boxes import clip_to_image
from c2d.ops.crop import crop_and_resize

MIN_SIDE = 2.0
"""Boxes with a shorter side, in px of the batch tensor after clipping, are left out."""


@dataclass(frozen=True)
class CropBoxes:
    """Boxes to crop.

    Attributes:
        boxes: (K, 4) fp32 xyxy, px of the batch tensor.
        image: (K,) long.
        labels: (K,) long.
    """

    boxes: Tensor
    image: Tensor
    labels: Tensor

    def areas(self) -> Tensor:
        """Return the areas (K,) in px^2 of the batch tensor."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)


def sample_boxes(batch: Batch, per_image: int | None = None, generator: torch.Generator | None = None) -> CropBoxes:
    """Sample the ground-truth boxes to crop, images in order.

    Args:
        batch: images and boxes.
        per_image: maximum number of boxes per image, drawn without replacement; None: all, in order.
        generator: source of the draw (CPU); None is torch's own, which the engine seeds from (seed, iteration, rank).

    Returns:
        Boxes clipped to their unpadded image; those with a side below MIN_SIDE px are left out.
    """
    kept_boxes, kept_image, kept_labels = [], [], []
    for index, (given, labels, (height, width)) in enumerate(zip(batch.boxes, batch.labels, batch.sizes, strict=True)):
        clipped = clip_to_image(given, height, width)
        keep = ((clipped[:, 2:] - clipped[:, :2]) >= MIN_SIDE).all(dim=1).nonzero().flatten()
        if per_image is not None and len(keep) > per_image:
            drawn = torch.randperm(len(keep), generator=generator)[:per_image]
            keep = keep[drawn.sort().values.to(keep.device)]
        kept_boxes.append(clipped[keep])
        kept_labels.append(labels[keep])
        kept_image.append(torch.full((len(keep),), index, dtype=torch.long, device=batch.images.device))
    return CropBoxes(torch.cat(kept_boxes), torch.cat(kept_image), torch.cat(kept_labels))


def truncate_to_multiple(sampled: CropBoxes, multiple: int) -> CropBoxes:
    """Drop boxes at random until their number is a multiple of `multiple`; fewer boxes than that are all kept.

    CPU libraries compile their convolutions for every new batch size, which takes seconds, and the number of boxes
    differs in every batch. Random dropping changes no expectation. The draw is torch's, seeded by the engine.
    """
    count = len(sampled.labels) // multiple * multiple
    if count in (0, len(sampled.labels)):
        return sampled
    kept = torch.randperm(len(sampled.labels))[:count].sort().values.to(sampled.image.device)
    return CropBoxes(sampled.boxes[kept], sampled.image[kept], sampled.labels[kept])


def crop_boxes(batch: Batch, sampled: CropBoxes, size: int, context: float = 0.0) -> Tensor:
    """Crop the sampled boxes with `context` (see `crop_and_resize`): (K, 3, size, size), normalized like the batch."""
    return crop_and_resize(batch.images, sampled.boxes, sampled.image, size, context=context)
