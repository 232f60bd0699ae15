"""Share of the targets that the teacher detects in the saved images, by stock inference.

A target is found when a detection of its class covers it by IoU >= 0.5, matched as COCO does: by falling score, each
detection to the free target of its class with the largest IoU. So the share is COCO's recall at that IoU, of the
detections above a score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from c2d.configs.run_config import read_run_config
from c2d.core.run_folder import RunFolder
from c2d.data.card import LoadedCard
from c2d.evaluation.datasets import build_dataset, held_out_dataset
from c2d.evaluation.detect import detect
from c2d.evaluation.rank_shares import Heartbeat
from c2d.ops.boxes import broadcast_iou
from c2d.teachers.detector import DetectorTeacher

MIN_IOU = 0.5
MIN_SCORE = 0.3
"""Of a detection that counts; mmdet draws detections above it."""
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
"""COCO's sizes of objects: {name: (smallest area, area it stays below)} in square px of the saved image."""


@dataclass(frozen=True)
class Redetection:
    """What the teacher finds of its targets; a share without targets is None.

    Attributes:
        found: ids of the annotations that are found.
        share: of all targets.
        by_class: {class: share}.
        by_size: {size: share}, see SIZES.
        images: share of the images with targets in which all of them are found.
        unmatched: number of detections that are of no target, second ones of a target included.
        min_score: of the detections.
    """

    found: frozenset[int]
    share: float | None
    by_class: dict[str, float | None]
    by_size: dict[str, float | None]
    images: float | None
    unmatched: int
    min_score: float


def detect_saved(
    teacher: DetectorTeacher,
    run: RunFolder,
    card: LoadedCard,
    heartbeat: Heartbeat = lambda: None,
    image_ids: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Detect the objects in the training images of a card, with the test pipeline of the teacher's run.

    Args:
        teacher: the detector.
        run: its run.
        card: of the images.
        heartbeat: called after every image.
        image_ids: of the images, in the order of the file; None: all.

    Returns:
        COCO results list, see `c2d.evaluation.detect`.

    Raises:
        InputError: the teacher's classes are not those of the card.
        RunError: an image cannot be read.
    """
    dataset = build_dataset(held_out_dataset(read_run_config(run), card, "teacher", "train"))
    if image_ids is not None:
        place = {dataset.get_data_info(index)["img_id"]: index for index in range(len(dataset))}
        # mmengine's own subset keeps the class ids that `detect` reads.
        dataset.get_subset_([place[image_id] for image_id in image_ids])
    return detect(teacher.network, dataset, heartbeat)


def redetection(
    coco: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], min_score: float = MIN_SCORE
) -> Redetection:
    """Count the targets that are found.

    Args:
        coco: content of an annotation file.
        detections: COCO results list of its images.
        min_score: detections of a lower score do not count.
    """
    targets: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for target in coco["annotations"]:
        targets.setdefault((target["image_id"], target["category_id"]), []).append(target)
    detected: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for one in detections:
        if one["score"] >= min_score:
            detected.setdefault((one["image_id"], one["category_id"]), []).append(one)
    found: set[int] = set()
    for cell, wanted in targets.items():
        found |= _match(wanted, detected.get(cell, []))
    names = {item["id"]: item["name"] for item in coco["categories"]}
    by_image: dict[int, bool] = {}
    for target in coco["annotations"]:
        by_image[target["image_id"]] = by_image.get(target["image_id"], True) and target["id"] in found
    rows = coco["annotations"]
    return Redetection(
        frozenset(found),
        _share([row["id"] in found for row in rows]),
        {
            name: _share([row["id"] in found for row in rows if row["category_id"] == category])
            for category, name in names.items()
        },
        {
            name: _share([row["id"] in found for row in rows if least <= row["area"] < most])
            for name, (least, most) in SIZES.items()
        },
        _share(list(by_image.values())),
        sum(map(len, detected.values())) - len(found),
        min_score,
    )


def _match(targets: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]]) -> set[int]:
    """Ids of the targets of one image and class that are matched."""
    if not detections:
        return set()
    ranked = sorted(detections, key=lambda one: -one["score"])
    wanted, given = (_corners([one["bbox"] for one in rows]) for rows in (targets, ranked))
    overlaps = broadcast_iou(given[:, None], wanted[None])
    found: set[int] = set()
    for row in overlaps:
        best = int(row.argmax())
        if float(row[best]) >= MIN_IOU:
            found.add(int(targets[best]["id"]))
            overlaps[:, best] = -1
    return found


def _corners(boxes: Sequence[Sequence[float]]) -> torch.Tensor:
    """Boxes x, y, w, h as (N, 4) fp64 xyxy px."""
    corners = torch.tensor(boxes, dtype=torch.float64)
    corners[:, 2:] += corners[:, :2]
    return corners


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
