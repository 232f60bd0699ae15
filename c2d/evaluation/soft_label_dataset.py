"""mmdet's CocoDataset whose images keep the soft labels of their boxes through any training pipeline."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.datasets import CocoDataset
from torch import Tensor

from c2d.core.errors import InputError
from c2d.data.coco_file import SOFT_LABEL

KEY = "soft_labels"
"""Field of mmdet's `gt_instances`, (G, C) fp32; `c2d.detectors.batch` reads it."""
INDICES_HELP = (
    "soft labels follow the boxes as their labels do, and this pipeline ends without the labels of its boxes; let it "
    "load annotations and end with PackDetInputs, or train on data without soft labels"
)


class SoftLabelDataset(CocoDataset):
    """A CocoDataset that adds `gt_instances.soft_labels` where the annotations of its file have a `soft_label`.

    Every transform keeps labels beside their boxes and none computes with them. So while the pipeline runs, the label
    of a box is its place among the boxes of all images that the item is made of, and afterwards label and soft label
    are looked up by it. Nothing random is drawn: images, boxes and labels are those of a CocoDataset.

    Attributes:
        has_soft_labels: whether an annotation of the file has one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.has_soft_labels = False
        self._boxes: list[tuple[int, list[float]]] = []  # (label, soft label) of an item's boxes, by place
        super().__init__(*args, **kwargs)

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> Any:
        """Parse one image as mmdet does, and keep the soft label of each instance.

        Args:
            raw_data_info: `raw_img_info` and `raw_ann_info` of a COCO file.
        """
        found = super().parse_data_info(raw_data_info)
        rows = raw_data_info["raw_ann_info"]
        if any(SOFT_LABEL in row for row in rows):
            self.has_soft_labels = True
            # mmdet skips some annotations; parsed alone, each gives one instance or none.
            alone = [
                super(SoftLabelDataset, self).parse_data_info({**raw_data_info, "raw_ann_info": [r]}) for r in rows
            ]
            kept = [row for row, one in zip(rows, alone, strict=True) if one["instances"]]
            for instance, row in zip(found["instances"], kept, strict=True):
                instance[SOFT_LABEL] = row[SOFT_LABEL]
        return found

    def prepare_data(self, idx: int) -> Any:
        """Return an image after the pipeline, with soft labels.

        Args:
            idx: of the image.

        Raises:
            InputError: the pipeline loses the labels of its boxes.
        """
        if not self.has_soft_labels:
            return super().prepare_data(idx)
        self._boxes = []
        packed = self.pipeline(self.numbered_info(idx))
        if packed is not None:  # a pipeline may refuse an image; mmdet then takes another
            labels = torch.tensor([label for label, _ in self._boxes], dtype=torch.long)
            soft = torch.tensor([row for _, row in self._boxes], dtype=torch.float32)
            _look_up(packed, labels, soft.reshape(len(labels), len(self.metainfo["classes"])))
        return packed

    def numbered_info(self, idx: int) -> Any:
        """Return an image of the current item, with the places of its boxes in the place of their labels.

        Args:
            idx: of the image.
        """
        info = self.get_data_info(idx)
        if self.has_soft_labels:
            for one in info["instances"]:
                self._boxes.append((one["bbox_label"], one.pop(SOFT_LABEL)))
                one["bbox_label"] = len(self._boxes) - 1
        return info


def _look_up(packed: Any, labels: Tensor, soft: Tensor) -> None:
    """Replace places by labels in a packed image, and add the soft labels, in place."""
    sample = packed.get("data_samples") if isinstance(packed, dict) else None
    truth, ignored = getattr(sample, "gt_instances", None), getattr(sample, "ignored_instances", None)
    places = getattr(truth, "labels", None)
    if truth is None or not isinstance(places, Tensor) or len(places) != len(truth.bboxes):
        raise InputError(INDICES_HELP)
    truth.labels, truth.soft_labels = labels[places], soft[places]
    if ignored is not None and isinstance(getattr(ignored, "labels", None), Tensor):
        ignored.labels = labels[ignored.labels]
