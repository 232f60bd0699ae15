"""Counting of found targets: cases by hand, and COCO's own recall."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from c2d.evaluation.redetection import redetection

CATEGORIES = [{"id": 7, "name": "ant"}, {"id": 3, "name": "bee"}, {"id": 5, "name": "fly"}]


def target(number: int, image: int, category: int, box: list[float]) -> dict[str, Any]:
    area = box[2] * box[3]
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": 0}


def detection(image: int, category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def coco(*annotations: dict[str, Any], images: int = 3) -> dict[str, Any]:
    rows = [{"id": n + 1, "file_name": f"{n}.png", "width": 200, "height": 200} for n in range(images)]
    return {"images": rows, "annotations": list(annotations), "categories": CATEGORIES}


def test_counts_by_hand():
    """Found: 1 and 4. Not found: 2 has another class's detection, 3 one that is shifted too far, 5 a low score."""
    file = coco(
        target(1, 1, 7, [0, 0, 20, 20]),
        target(2, 1, 3, [100, 100, 40, 40]),
        target(3, 1, 7, [0, 100, 40, 40]),
        target(4, 2, 3, [10, 10, 100, 100]),
        target(5, 2, 3, [150, 150, 20, 20]),
    )
    detections = [
        detection(1, 7, [0, 0, 20, 11], 0.9),
        detection(1, 7, [100, 100, 40, 40], 0.9),
        detection(1, 7, [14, 100, 40, 40], 0.9),
        detection(2, 3, [10, 10, 100, 100], 0.3),
        detection(2, 3, [150, 150, 20, 20], 0.29),
        detection(3, 3, [10, 10, 100, 100], 0.9),
    ]
    found = redetection(file, detections, 0.3)
    assert found.found == {1, 4}
    assert found.share == 2 / 5
    assert found.by_class == {"ant": 1 / 2, "bee": 1 / 3, "fly": None}
    assert found.by_size == {"small": 1 / 2, "medium": 0.0, "large": 1.0}
    assert found.images == 0.0
    assert found.unmatched == 3  # of another class, shifted, in an image without targets
    assert redetection(file, detections, 0.29).images == 1 / 2


def test_a_detection_finds_one_target():
    boxes = [[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 80.0]]
    file = coco(target(1, 1, 7, boxes[0]), target(2, 1, 7, boxes[1]))
    assert redetection(file, [detection(1, 7, boxes[1], 0.9)]).found == {2}
    assert redetection(file, [detection(1, 7, boxes[1], 0.9), detection(1, 7, boxes[1], 0.8)]).found == {1, 2}


def test_no_targets_give_no_share():
    found = redetection(coco(), [detection(1, 7, [0, 0, 20, 20], 0.9)])
    assert (found.share, found.images, found.found, found.unmatched) == (None, None, frozenset(), 1)
    assert set(found.by_class.values()) | set(found.by_size.values()) == {None}


@pytest.mark.parametrize("seed", range(3))
def test_the_share_is_the_recall_of_pycocotools(seed):
    """Many overlapping boxes in one place, class by class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(seed)

    def box() -> list[float]:
        return [float(v) for v in (*rng.uniform(0, 60, 2), *rng.uniform(30, 120, 2))]

    ids = [7, 3, 5]
    file = coco(*(target(n + 1, int(rng.integers(1, 4)), int(rng.choice(ids)), box()) for n in range(60)))
    detections = [
        detection(int(rng.integers(1, 4)), int(rng.choice(ids)), box(), float(rng.uniform())) for _ in range(120)
    ]
    found = redetection(file, detections, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = file
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([dict(one) for one in detections]), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.catIds = ids
        evaluation.evaluate()
        evaluation.accumulate()
    recall = evaluation.eval["recall"][0, :, 0, -1]
    by_id = dict(zip(evaluation.params.catIds, recall, strict=True))
    names = {item["id"]: item["name"] for item in CATEGORIES}
    assert {names[k]: pytest.approx(v) for k, v in by_id.items()} == found.by_class
    assert 0.1 < (found.share or 0) < 0.95
