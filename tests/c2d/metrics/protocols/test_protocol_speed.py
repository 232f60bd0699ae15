"""CPU time of both protocols on 5,000 images with 100 detections each; the table in docs/results/evaluation.md."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from c2d.metrics.coco_data import CocoData
from c2d.metrics.protocols import kitti, voc
from tests.c2d.metrics.protocols.protocol_sets import CLASSES
from tests.processor_cost import processor_cost

IMAGES, DETECTIONS = 5000, 100


def _large_set(rng: np.random.Generator) -> tuple[list[dict[str, Any]], CocoData]:
    """2 to 13 objects in each image; half of the detections are near one of them."""
    per_image = rng.integers(2, 14, IMAGES)
    image = np.repeat(np.arange(IMAGES), per_image)
    n = len(image)
    box = np.column_stack([rng.uniform(0, 1000, (n, 2)), rng.uniform(20, 150, (n, 2))])
    label = rng.integers(0, 3, n)
    types = np.where(rng.random(n) < 0.1, "DontCare", np.array(CLASSES)[label])
    annotations = [
        {
            "protocol": {
                "type": str(kind),
                "truncated": float(cut),
                "occluded": int(hidden),
                "difficult": int(hidden == 2),
            }
        }
        for kind, cut, hidden in zip(types, rng.choice([0, 0, 0.2, 0.4], n), rng.integers(0, 3, n), strict=True)
    ]
    dt_image = np.repeat(np.arange(IMAGES), DETECTIONS)
    of = (np.cumsum(per_image) - per_image)[dt_image] + rng.integers(0, per_image[dt_image])
    near = rng.random(len(of)) < 0.5
    found = box[of] + rng.normal(0, 3, (len(of), 4))
    found[~near, :2] = rng.uniform(0, 1000, (int((~near).sum()), 2))
    found[:, 2:] = np.maximum(found[:, 2:], 5)
    truth = CocoData(
        image_ids=list(range(IMAGES)), class_ids=[0, 1, 2], class_names=list(CLASSES), gt_image=image, gt_class=label,
        gt_box=box, gt_area=box[:, 2] * box[:, 3], gt_crowd=types == "DontCare", dt_image=dt_image[:0],
        dt_class=label[:0], dt_box=box[:0], dt_score=box[:0, 0],
    )  # fmt: skip
    cls = np.where(rng.random(len(of)) < 0.8, label[of], rng.integers(0, 3, len(of)))
    return annotations, truth.with_detections(dt_image, cls, found, rng.beta(np.where(near, 4, 1), 2))


@pytest.mark.slow
def test_half_a_million_detections_take_a_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    annotations, data = _large_set(np.random.default_rng(0))
    for name, evaluate in (("VOC", voc.evaluate), ("KITTI", kitti.evaluate)):
        result, cost = processor_cost(partial(evaluate, annotations, data))
        with capsys.disabled():
            print(f"\n{name}: {cost:.0f} units, {len(annotations)} objects, {len(data.dt_score)} detections")
        assert cost < 40
        assert len(result["per_class"]) == 3
