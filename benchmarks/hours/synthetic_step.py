"""Noise images with boxes, for steps whose FLOPs are counted and whose values do not matter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BOXES = (
    (0.10, 0.15, 0.30, 0.40), (0.45, 0.40, 0.90, 0.85), (0.05, 0.60, 0.17, 0.75), (0.60, 0.05, 0.85, 0.30),
    (0.30, 0.70, 0.38, 0.80), (0.20, 0.45, 0.45, 0.65), (0.90, 0.10, 0.97, 0.25),
)  # fmt: skip
"""Corners xyxy as shares of the image's sides: as many boxes as a COCO image has on average, of mixed sizes."""


def noise_batch(height: int, width: int, num_classes: int = 1) -> tuple[Tensor, list[Any]]:
    """Return one noise image (1, 3, height, width) and its mmdet data sample with the boxes of `BOXES`, xyxy px.

    Args:
        height, width: px.
        num_classes: labels are below it.
    """
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    shape = (height, width)
    sample = DetDataSample(
        metainfo={
            "img_shape": shape,
            "ori_shape": shape,
            "pad_shape": shape,
            "batch_input_shape": shape,
            "scale_factor": (1.0, 1.0),
            "img_id": 0,
            "img_path": "0.png",
        }
    )
    boxes = torch.tensor(BOXES) * torch.tensor([width, height, width, height])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)) % num_classes)
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0)), [sample]
