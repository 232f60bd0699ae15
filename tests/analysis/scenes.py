"""Small hand-made scenes, random sets and a large synthetic one, in COCO's formats."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st


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


def found(boxes: list[tuple[int, int, Any, float]]) -> list[dict[str, Any]]:
    """Results list from (image, class, box, score)."""
    return [{"image_id": i, "category_id": k, "bbox": list(box), "score": score} for i, k, box, score in boxes]


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
    detections = found(draw(st.lists(st.tuples(image, category, near, score), max_size=14)))
    targets = {
        "images": [{"id": i} for i in IMAGE_IDS],
        "categories": [{"id": k, "name": f"class {k}"} for k in CLASS_IDS],
        "annotations": annotations,
    }
    return targets, detections


def synthetic(
    images: int, classes: int, objects: int, detections: int, seed: int = 0, digits: int | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A set of the given size (`objects` and `detections` per image); six detections in ten lie near an object.

    Two objects in a hundred are crowd regions. `digits` rounds the scores.
    """
    rng = np.random.default_rng(seed)

    def boxes(n: int) -> Any:
        size = np.exp(rng.uniform(np.log(8), np.log(250), (n, 2)))
        return np.concatenate([rng.uniform(0, 1, (n, 2)) * np.maximum(500 - size, 1), size], axis=1)

    g, d = images * objects, images * detections
    g_image = np.sort(rng.integers(0, images, g))
    g_class, g_box, crowd = rng.integers(0, classes, g), boxes(g), rng.random(g) < 0.02
    d_image = np.sort(rng.integers(0, images, d))
    first = np.searchsorted(g_image, np.arange(images + 1))
    here = first[d_image + 1] - first[d_image]
    near = (rng.random(d) < 0.6) & (here > 0)
    source = np.minimum(first[d_image] + (rng.random(d) * here).astype(int), g - 1)
    moved, jitter = g_box[source].copy(), rng.normal(0, 0.15, (d, 4))
    moved[:, :2] += jitter[:, :2] * moved[:, 2:]
    moved[:, 2:] *= np.exp(jitter[:, 2:])
    d_box = np.where(near[:, None], moved, boxes(d))
    d_class = np.where(near & (rng.random(d) < 0.7), g_class[source], rng.integers(0, classes, d))
    score = np.clip(rng.beta(1, 4, d) + near * 0.3 * rng.random(d), 0, 1)
    score = score if digits is None else np.round(score, digits)
    columns = g_image.tolist(), g_class.tolist(), g_box.tolist(), crowd.tolist()
    targets = {
        "images": [{"id": 7 * i + 3} for i in range(images)],
        "categories": [{"id": 3 * k + 1, "name": f"class {k}"} for k in range(classes)],
        "annotations": [
            {
                "id": number,
                "image_id": 7 * i + 3,
                "category_id": 3 * k + 1,
                "bbox": b,
                "area": 0.7 * b[2] * b[3],
                "iscrowd": int(c),
            }
            for number, (i, k, b, c) in enumerate(zip(*columns, strict=True))
        ],
    }
    rows = zip(d_image.tolist(), d_class.tolist(), d_box.tolist(), score.tolist(), strict=True)
    return targets, found([(7 * i + 3, 3 * k + 1, b, s) for i, k, b, s in rows])
