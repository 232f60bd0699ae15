"""COCO's AP of an artefact on the test data set, through the student's own post-processing."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from c2d.core.errors import InputError, abbreviate
from c2d.metrics import coco
from c2d.metrics.coco_data import prepare

if TYPE_CHECKING:
    from benchmarks.backends.network import Call
    from benchmarks.latency.pipeline import InferencePipeline


def average_precision(pipeline: InferencePipeline, call: Call, paths: Sequence[Path]) -> float | None:
    """Return the AP (0-1) of a backend's call, one image at a time as in evaluation.

    Args:
        pipeline: of the student.
        call: the backend's.
        paths: image files of the config's test data set.

    Returns:
        None where no image has an object.

    Raises:
        InputError: an image that is not in the data set, missing ground truth, or outputs that are not the data set's
            classes in its order.
    """
    dataset = pipeline.student.dataset
    full = _read_annotations(dataset)
    _check_classes(pipeline.student.outputs, dataset, full)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    # By path: the callers choose files, COCO's results need image ids.
    ids = {os.path.abspath(info["img_path"]): info["img_id"] for info in infos}
    results: list[dict[str, Any]] = []
    evaluated = set()
    for path, batch in pipeline.single_image_batches(paths):
        image = ids.get(os.path.abspath(path))
        if image is None:
            raise InputError(f"{path} is no image of the config's test data set")
        evaluated.add(image)
        (detections,) = pipeline.post_process(pipeline.network.run(call, batch), batch)
        # COCO's boxes are xywh.
        corners = detections.boxes.double()
        boxes = torch.cat([corners[:, :2], (corners[:, 2:] - corners[:, :2]).clamp_min(0)], dim=1)
        rows = zip(boxes.tolist(), detections.scores.double().tolist(), detections.labels.tolist(), strict=True)
        results += [
            {"image_id": image, "category_id": dataset.cat_ids[label], "bbox": box, "score": score}
            for box, score, label in rows
        ]
    value = coco.evaluate(prepare(_ground_truth(full, dataset, evaluated), results))["AP"]
    return None if value is None else float(value)


def _read_annotations(dataset: Any) -> dict[str, Any]:
    with open(dataset.ann_file, encoding="utf-8") as file:
        content: dict[str, Any] = json.load(file)
    return content


def _check_classes(outputs: tuple[str, ...] | None, dataset: Any, full: dict[str, Any]) -> None:
    """Check that output k is category k: mmdet numbers the categories as the annotation file lists them."""
    names = {category["id"]: category["name"] for category in full["categories"]}
    classes = [names[number] for number in dataset.cat_ids]
    if outputs is None:
        raise InputError(
            f"nothing names the outputs of the student; write metainfo.classes of the test data set into its config "
            f"({dataset.ann_file} has {abbreviate(classes, 4)})"
        )
    if list(outputs) != classes:
        raise InputError(
            f"the outputs are {abbreviate(outputs, 4)}, and the classes of {dataset.ann_file} in its order are "
            f"{abbreviate(classes, 4)}; c2d evaluate pairs them by name"
        )


def _ground_truth(full: dict[str, Any], dataset: Any, images: set[Any]) -> dict[str, Any]:
    """Return COCO ground truth of some images, with the student's classes only."""
    classes = set(dataset.cat_ids)
    return {
        "images": [one for one in full["images"] if one["id"] in images],
        "annotations": [
            # Without segmentation, which is most of the file and not used for boxes.
            {key: box[key] for key in ("id", "image_id", "category_id", "bbox", "area", "iscrowd") if key in box}
            for box in full.get("annotations", [])
            if box["image_id"] in images and box["category_id"] in classes
        ],
        "categories": [one for one in full["categories"] if one["id"] in classes],
    }
