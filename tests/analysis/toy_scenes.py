"""Small hand-made scenes and random sets in COCO's formats.

The large synthetic set is `benchmarks.suite.synthetic_dataset`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from benchmarks.suite.synthetic_dataset import coco_results, synthetic_coco
from c2d.metrics.coco_data import CocoData
from c2d.metrics.matching import kept_detections

__all__ = ["CLASS_IDS", "IMAGE_IDS", "coco_results", "repeated", "small_sets", "synthetic_coco", "truth",
           "untied"]  # fmt: skip


def truth(boxes: list[tuple[Any, ...]], classes: int = 2, images: int = 1) -> dict[str, Any]:
    """Ground truth from (image, class, box[, crowd]) with ids from 1; boxes only: no area, no iscrowd, no polygons."""
    annotations = []
    for number, (image, category, box, *crowd) in enumerate(boxes):
        record: dict[str, Any] = {"id": number, "image_id": image, "category_id": category, "bbox": list(box)}
        if crowd:
            record["iscrowd"] = int(crowd[0])
        annotations.append(record)
    return {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": k + 1, "name": "ab"[k] if classes == 2 else f"class {k}"} for k in range(classes)],
        "annotations": annotations,
    }


IMAGE_IDS, CLASS_IDS = (40, 7, 1000, 12), (90, 3, 17)  # neither contiguous nor sorted


def _shifted(box: Any, by: float) -> list[float]:
    return [box[0] + by, box[1] + by * by, *box[2:]]


@st.composite
def small_sets(draw: st.DrawFn, distinct: bool = False) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Crowded little sets on a coarse grid: equal scores, equal boxes, crowd regions, empty images and classes.

    Edges on a grid of 10 px make overlaps of exactly 0.1 and 0.5 and equal overlaps frequent. `distinct` moves every
    object by a different fraction of a pixel, so that no detection overlaps two objects equally.
    """
    step = 0.173 if distinct else 0.0
    edge = st.integers(0, 12).map(lambda v: 10.0 * v)
    box = st.tuples(edge, edge, st.integers(1, 6).map(lambda v: 10.0 * v), st.integers(1, 12).map(lambda v: 10.0 * v))
    some_boxes = draw(st.lists(box, min_size=1, max_size=4))
    near = st.one_of(st.sampled_from(some_boxes), box)
    image, category = st.sampled_from(IMAGE_IDS[:3]), st.sampled_from(CLASS_IDS)
    annotations = [
        {
            "id": number,
            "image_id": i,
            "category_id": k,
            "bbox": _shifted(b, number * step),
            "iscrowd": int(crowd),
            **area,
        }
        for number, (i, k, b, crowd, area) in enumerate(
            draw(
                st.lists(
                    st.tuples(
                        image,
                        category,
                        near,
                        st.sampled_from((False, False, False, True)),
                        st.sampled_from(({}, {}, {"area": 1024.0}, {"area": 9216.5})),
                    ),
                    max_size=10,
                )
            )
        )
    ]
    score = st.sampled_from((0.1, 0.25, 0.5, 0.75, 0.9, 1.0))
    detections = coco_results(draw(st.lists(st.tuples(image, category, near, score), max_size=14)))
    targets = {
        "images": [{"id": i} for i in IMAGE_IDS],
        "categories": [{"id": k, "name": f"class {k}"} for k in CLASS_IDS],
        "annotations": annotations,
    }
    return targets, detections


def untied(data: CocoData) -> CocoData:
    """The same set with scores that say the order of COCO's curve and nothing else: no two of a class are equal."""
    kept = kept_detections(data)
    score = np.full(len(data.dt_score), -1.0)
    score[kept] = np.linspace(1, 0.5, len(kept)) if len(kept) else 0
    return replace(data, dt_score=score, cache={})


def repeated(data: CocoData, counts: Any) -> CocoData:
    """Literally: every image as often as `counts` says, under new ids, with all its objects and detections."""
    columns: dict[str, list[Any]] = {name: [] for name in vars(data) if name[:3] in ("gt_", "dt_")}
    new = 0
    for image, times in enumerate(counts):
        for _ in range(times):
            for side in ("gt", "dt"):
                rows = np.flatnonzero(getattr(data, f"{side}_image") == image)
                for name, column in columns.items():
                    if name.startswith(side):
                        values = getattr(data, name)[rows]
                        column.append(np.full(len(rows), new) if name == f"{side}_image" else values)
            new += 1
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return replace(data, image_ids=list(range(new)), **joined, cache={})
