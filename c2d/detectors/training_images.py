"""The training images as at test time, one by one, with their boxes: for methods that look at all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Instances(NamedTuple):
    """One image: (3, H, W) as the loader gives it (uint8, before normalisation), boxes (G, 4) xyxy px of it, labels
    (G,), and the boxes' (width, height) in px of the file, (G, 2)."""

    inputs: Tensor
    sample: Any
    boxes: Tensor
    labels: Tensor
    sides: Tensor


class Samples:
    """A training split seen through the test-time pipeline. Nothing is read before the first look.

    Args:
        build: makes the mmdet data set (test_mode, so that no image is dropped).

    `beat` is called before each image: a look at all of them outlasts the time after which a silent run counts as dead.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build, self._dataset = build, None
        self.beat: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._data())

    def labels(self) -> list[tuple[list[int], list[tuple[float, float]]]]:
        """Per image the classes and (width, height) in px of its boxes, without decoding it. Crowds are left out."""
        found = []
        for index in range(len(self)):
            kept = [i for i in self._data().get_data_info(index)["instances"] if not i.get("ignore_flag")]
            sides = [(i["bbox"][2] - i["bbox"][0], i["bbox"][3] - i["bbox"][1]) for i in kept]
            found.append(([i["bbox_label"] for i in kept], sides))
        return found

    def __getitem__(self, index: int) -> Instances:
        """One image, decoded and resized."""
        self.beat()
        dataset = self._data()
        packed = dataset[index]
        sample = packed["data_samples"]
        kept = [i for i in dataset.get_data_info(index)["instances"] if not i.get("ignore_flag")]
        boxes = torch.tensor([i["bbox"] for i in kept], dtype=torch.float32).reshape(-1, 4)
        scale = torch.tensor([*sample.metainfo.get("scale_factor", (1.0, 1.0))] * 2, dtype=torch.float32)
        labels = torch.tensor([i["bbox_label"] for i in kept], dtype=torch.long)
        return Instances(packed["inputs"], sample, boxes * scale, labels, boxes[:, 2:] - boxes[:, :2])

    def _data(self) -> Any:
        if self._dataset is None:
            self._dataset = self._build()
        return self._dataset
