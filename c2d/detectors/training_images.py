"""The training images under the test-time pipeline, with their boxes: for methods that use the whole training set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class AnnotatedImage(NamedTuple):
    """One image with its ground truth.

    Attributes:
        inputs: (3, H, W) uint8, before normalisation.
        sample: its mmdet data sample.
        boxes: (G, 4) fp32 xyxy, px of `inputs`.
        labels: (G,) long.
        sides: (G, 2) width and height of the boxes in px of the file.
    """

    inputs: Tensor
    sample: Any
    boxes: Tensor
    labels: Tensor
    sides: Tensor


class TrainingImages:
    """A training split under the test-time pipeline. The data set is built at the first access.

    Args:
        build: builds the mmdet data set (test_mode, so that no image is dropped).

    Attributes:
        heartbeat: called before each image, because reading all of them takes longer than the limit after which a run
            without heartbeat counts as dead.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build, self._dataset = build, None
        self.heartbeat: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._data())

    def labels(self) -> list[tuple[list[int], list[tuple[float, float]]]]:
        """Return labels and (width, height) in px of each image's boxes, without crowds; decodes no image."""
        annotations = []
        for index in range(len(self)):
            kept = [i for i in self._data().get_data_info(index)["instances"] if not i.get("ignore_flag")]
            sides = [(i["bbox"][2] - i["bbox"][0], i["bbox"][3] - i["bbox"][1]) for i in kept]
            annotations.append(([i["bbox_label"] for i in kept], sides))
        return annotations

    def __getitem__(self, index: int) -> AnnotatedImage:
        """Decode and resize one image."""
        self.heartbeat()
        dataset = self._data()
        packed = dataset[index]
        sample = packed["data_samples"]
        kept = [i for i in dataset.get_data_info(index)["instances"] if not i.get("ignore_flag")]
        boxes = torch.tensor([i["bbox"] for i in kept], dtype=torch.float32).reshape(-1, 4)
        scale = torch.tensor([*sample.metainfo.get("scale_factor", (1.0, 1.0))] * 2, dtype=torch.float32)
        labels = torch.tensor([i["bbox_label"] for i in kept], dtype=torch.long)
        return AnnotatedImage(packed["inputs"], sample, boxes * scale, labels, boxes[:, 2:] - boxes[:, :2])

    def _data(self) -> Any:
        if self._dataset is None:
            self._dataset = self._build()
        return self._dataset
