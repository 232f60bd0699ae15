"""What a synthesised image should show: boxes, labels and soft labels of its objects, whatever its size in px."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """Objects of one image; all of them may be absent (G = 0).

    Attributes:
        boxes: (G, 4) fp32 xyxy, shares of the image's side in 0..1.
        labels: (G,) long, 0..C-1.
        soft_labels: (G, C) fp32, rows sum to 1; the largest entry is not always the label.
    """

    boxes: Tensor
    labels: Tensor
    soft_labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return int(self.soft_labels.shape[1])

    def select(self, rows: Tensor) -> Targets:
        """Return some of the objects; `rows` are indices (K,) long or a mask (G,) bool."""
        return Targets(self.boxes[rows], self.labels[rows], self.soft_labels[rows])

    def joined(self, more: Targets) -> Targets:
        """Return these objects and those of `more`, in this order."""
        return Targets(
            torch.cat([self.boxes, more.boxes]),
            torch.cat([self.labels, more.labels]),
            torch.cat([self.soft_labels, more.soft_labels]),
        )


def empty_targets(num_classes: int) -> Targets:
    """Return the targets of an image without objects."""
    return Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, num_classes))
