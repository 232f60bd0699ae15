"""Made evaluation sets of any size, in COCO's formats: for speed, where real detections would have to be fetched.

Sizes, overlaps and scores are drawn; the same seed draws the same set. Nothing here says how good a detector is.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def found(boxes: list[tuple[int, int, Any, float]]) -> list[dict[str, Any]]:
    """Results list from (image, class, box, score)."""
    return [{"image_id": i, "category_id": k, "bbox": list(box), "score": score} for i, k, box, score in boxes]


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


def with_polygons(targets: dict[str, Any]) -> dict[str, Any]:
    """The same targets as other engines want them, in place: object ids from 1, image names and sizes, polygons.

    pycocotools takes a match with object 0 for none; tidecv wants polygons, here the boxes.
    """
    for image in targets["images"]:
        image |= {"file_name": f"{image['id']:012}.jpg", "width": 500, "height": 500}
    for one in targets["annotations"]:
        x, y, w, h = one["bbox"]
        one["id"] += 1
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return targets
