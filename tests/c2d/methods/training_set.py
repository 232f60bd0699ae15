"""A synthetic training set for methods that read all of it: `TrainingImages` over four noise images."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.structures import DetDataSample

from c2d.detectors.training_images import TrainingImages
from tests.c2d.tiny_detectors import NUM_CLASSES


class _Made:
    """The part of an mmdet data set that `TrainingImages` uses."""

    def __init__(self, images: int, side: int, classes: int) -> None:
        generator = torch.Generator().manual_seed(7)
        self.images = torch.randint(0, 256, (images, 3, side, side), generator=generator, dtype=torch.uint8)
        self.boxes = []
        for index in range(images):
            corner = torch.rand(4, 2, generator=generator) * (side - 45)
            extent = 33 + torch.rand(4, 2, generator=generator) * 10
            labels = (torch.arange(4) + index) % classes
            self.boxes.append((torch.cat([corner, corner + extent], 1), labels))
        self.side = side

    def __len__(self) -> int:
        return len(self.images)

    def get_data_info(self, index: int) -> dict[str, Any]:
        boxes, labels = self.boxes[index]
        rows = zip(boxes.tolist(), labels.tolist(), strict=True)
        return {"instances": [{"bbox": b, "bbox_label": c, "ignore_flag": 0} for b, c in rows]}

    def __getitem__(self, index: int) -> dict[str, Any]:
        shape = (self.side, self.side)
        sample = DetDataSample(metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)})
        return {"inputs": self.images[index], "data_samples": sample}


def samples_like(images: int = 4, side: int = 96, classes: int = NUM_CLASSES) -> TrainingImages:
    """Four images of 96 px with four boxes each, every side above 30 px."""
    return TrainingImages(lambda: _Made(images, side, classes))
