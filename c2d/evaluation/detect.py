"""Detections of a stock model on a data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.dataset import pseudo_collate

Heartbeat = Callable[[], None]
"""Called after every image, so that a long evaluation is not taken for a dead run."""


@torch.no_grad()
def detect(model: Any, dataset: Any, heartbeat: Heartbeat = lambda: None) -> list[dict[str, Any]]:
    """Detect the objects of a data set, image by image.

    Args:
        model: mmdet detector; it is in eval mode meanwhile, and in its own mode afterwards.
        dataset: mmdet data set in test mode.
        heartbeat: called after every image.

    Returns:
        COCO results list: category ids of the annotation file, boxes x, y, w, h in px of the original image, scores at
        full precision.
    """
    was_training = model.training
    model.eval()
    detections: list[dict[str, Any]] = []
    for index in range(len(dataset)):
        (sample,) = model.test_step(pseudo_collate([dataset[index]]))
        instances = sample.pred_instances.cpu()
        # In fp64, so that width = x2 - x1 is not rounded a second time.
        corners = getattr(instances.bboxes, "tensor", instances.bboxes).double()
        boxes = torch.cat([corners[:, :2], (corners[:, 2:] - corners[:, :2]).clamp_min(0)], dim=1)
        for box, score, label in zip(
            boxes.tolist(), instances.scores.double().tolist(), instances.labels.tolist(), strict=True
        ):
            detections.append(
                {"image_id": sample.img_id, "category_id": dataset.cat_ids[label], "bbox": box, "score": score}
            )
        heartbeat()
    model.train(was_training)
    return detections
