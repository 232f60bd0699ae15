"""Classification crops without files: which boxes of a batch are looked at, and the pixels inside them.

A crop is the ground-truth box (no margin) resized to a square by the operator that distillation uses, so a teacher is
trained on exactly what it is asked about later. Crowd regions never arrive here: mmdet keeps them as ignored instances.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from c2d.detectors.batch import Batch
from c2d.ops.boxes import clip_to_image
from c2d.ops.crop import crop_and_resize

#: Boxes with a shorter side than this, in pixels of the batch tensor after clipping, hold nothing to recognise.
MIN_SIDE = 2.0


@dataclass(frozen=True)
class Chosen:
    """Boxes to crop: boxes (K, 4) xyxy in pixels of the batch, their image (K,) long and labels (K,) long."""

    boxes: Tensor
    image: Tensor
    labels: Tensor

    def areas(self) -> Tensor:
        """(K,) pixels squared of the batch tensor."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)


def choose(batch: Batch, per_image: int | None = None, generator: torch.Generator | None = None) -> Chosen:
    """The ground-truth boxes whose crops are used, images in order.

    Args:
        batch: images and boxes.
        per_image: at most so many boxes of each image, drawn without replacement; None takes all, in order.
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
    return Chosen(torch.cat(kept_boxes), torch.cat(kept_image), torch.cat(kept_labels))


def rounded(chosen: Chosen, multiple: int) -> Chosen:
    """A random subset whose size is the largest multiple of `multiple`; fewer boxes than that are kept as they are.

    A CPU's convolutions are compiled for each batch size they meet, for seconds; the sizes of real batches are all
    different. A few boxes left out at random change no expectation. The draw is torch's, seeded by the engine.
    """
    count = len(chosen.labels) // multiple * multiple
    if count in (0, len(chosen.labels)):
        return chosen
    kept = torch.randperm(len(chosen.labels))[:count].sort().values.to(chosen.image.device)
    return Chosen(chosen.boxes[kept], chosen.image[kept], chosen.labels[kept])


def cut(batch: Batch, chosen: Chosen, size: int) -> Tensor:
    """Crops (K, 3, size, size) of the chosen boxes, in the normalisation of the batch."""
    return crop_and_resize(batch.images, chosen.boxes, chosen.image, size)
