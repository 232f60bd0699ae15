"""One training batch in plain tensors, read from mmdet's data samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.detectors.normalization import Normalization


@dataclass(frozen=True)
class Batch:
    """One training batch, as the student sees it.

    Attributes:
        images: (B, 3, H, W), normalized, and zero-padded to the largest image.
        boxes: per image (G_i, 4) fp32 xyxy, px of `images` (so after augmentation and resizing).
        labels: per image (G_i,) long, 0..num_classes-1.
        sizes: per image (height, width) without the padding.
        normalization: of `images`.
        num_classes: number of foreground classes C.
        paths: per image its file; empty where the pipeline drops it.
        soft_labels: per image (G_i, C) fp32, rows sum to 1; None where the data set has none.
    """

    images: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    sizes: tuple[tuple[int, int], ...]
    normalization: Normalization
    num_classes: int
    paths: tuple[str, ...] = ()
    soft_labels: tuple[Tensor, ...] | None = None

    def all_boxes(self) -> tuple[Tensor, Tensor]:
        """Return all ground-truth boxes, image by image: boxes (G, 4) xyxy px, and their image (G,) long."""
        device = self.images.device
        counts = torch.tensor([len(b) for b in self.boxes], device=device)
        image = torch.repeat_interleave(torch.arange(len(self.boxes), device=device), counts)
        return torch.cat(self.boxes), image

    def offsets(self) -> Tensor:
        """Return the index (B,) long of the first box of each image in `all_boxes()`."""
        counts = torch.tensor([0, *(len(b) for b in self.boxes)], device=self.images.device)
        return counts.cumsum(0)[:-1]


def batch_from_mmdet(
    inputs: Tensor, data_samples: Sequence[Any], normalization: Normalization, num_classes: int
) -> Batch:
    """Convert the arguments of `detector.loss(inputs, data_samples)` to a batch.

    Args:
        inputs: (B, 3, H, W) from the data preprocessor.
        data_samples: B `DetDataSample`s; `gt_instances` may hold `HorizontalBoxes` or a tensor, and soft labels.
            Ignored instances (crowds) are left out.
        normalization: of `inputs`, usually `Normalization.from_preprocessor(detector.data_preprocessor)`.
        num_classes: number of foreground classes.
    """
    boxes, labels, sizes, paths, soft = [], [], [], [], []
    for sample in data_samples:
        truth = sample.gt_instances
        given = truth.bboxes
        tensor: Tensor = getattr(given, "tensor", given)
        boxes.append(tensor.detach().to(device=inputs.device, dtype=torch.float32).reshape(-1, 4))
        labels.append(truth.labels.to(device=inputs.device, dtype=torch.long))
        if (rows := truth.get("soft_labels")) is not None:
            soft.append(rows.to(device=inputs.device, dtype=torch.float32))
        height, width = sample.metainfo["img_shape"][:2]
        sizes.append((int(height), int(width)))
        paths.append(str(sample.metainfo.get("img_path", "")))
    # All or none, so that an index of an image is an index of a path, and of soft labels.
    files = tuple(paths) if all(paths) else ()
    soft_labels = tuple(soft) if len(soft) == len(boxes) else None
    return Batch(inputs, tuple(boxes), tuple(labels), tuple(sizes), normalization, num_classes, files, soft_labels)


def box_sides(data_samples: Sequence[Any]) -> Tensor:
    """Return width and height of all boxes of mmdet's data samples, (N, 2) fp32 on the CPU, px; crowds are left out."""
    boxes = [getattr(sample.gt_instances.bboxes, "tensor", sample.gt_instances.bboxes) for sample in data_samples]
    corners = torch.cat([torch.zeros(0, 4), *(part.detach().float().cpu().reshape(-1, 4) for part in boxes)])
    return corners[:, 2:] - corners[:, :2]


def pad_to_multiple(images: Tensor, divisor: int) -> Tensor:
    """Return images (B, 3, H, W) with zeros below and to the right, as mmdet's preprocessor pads them.

    Args:
        images: normalized.
        divisor: of which both sides become a multiple (`pad_size_divisor`).
    """
    height, width = images.shape[2:]
    below, right = -height % divisor, -width % divisor
    return F.pad(images, (0, right, 0, below)) if below or right else images


def samples_of_images(images: Tensor, divisor: int = 1) -> list[Any]:
    """Return a `DetDataSample` without boxes for each image, for calling a detector with a tensor alone.

    Args:
        images: (B, 3, H, W) before the padding; their pixels are those of the original images.
        divisor: see `pad_to_multiple`.
    """
    from mmdet.structures import DetDataSample

    size = (int(images.shape[2]), int(images.shape[3]))
    padded = (-(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor)
    return [DetDataSample(metainfo=_shapes(size, padded)) for _ in images]


def samples_of_batch(batch: Batch) -> list[Any]:
    """Return a `DetDataSample` without boxes for each image of a batch, with its size without the padding."""
    from mmdet.structures import DetDataSample

    padded = (int(batch.images.shape[2]), int(batch.images.shape[3]))
    return [DetDataSample(metainfo=_shapes(size, padded)) for size in batch.sizes]


def _shapes(size: tuple[int, int], padded: tuple[int, int]) -> dict[str, Any]:
    return {"img_shape": size, "ori_shape": size, "pad_shape": padded, "batch_input_shape": padded,
            "scale_factor": (1.0, 1.0)}  # fmt: skip


def samples_with_boxes(batch: Batch) -> list[Any]:
    """Return the `DetDataSample` of each image of a batch, with its boxes and no ignored ones, for `detector.loss`."""
    from mmengine.structures import InstanceData

    samples = samples_of_batch(batch)
    for sample, boxes, labels in zip(samples, batch.boxes, batch.labels, strict=True):
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
    return samples
