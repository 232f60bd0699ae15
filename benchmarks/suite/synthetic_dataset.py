"""Synthetic evaluation sets of any size in COCO's formats, to measure speed without real detections.

Box sizes, overlaps and scores are random; the same seed gives the same set. The AP of such a set means nothing.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

CLASSES, OBJECTS, DETECTIONS = 80, 7, 96
"""Of the set, of an image, of an image: 5,000 images are then as large as COCO's val2017 (35,000 and 480,000)."""


def coco_results(boxes: list[tuple[int, int, Any, float]]) -> list[dict[str, Any]]:
    """Return COCO's list of results for (image id, category id, box xywh px, score) of each detection."""
    return [{"image_id": i, "category_id": k, "bbox": list(box), "score": score} for i, k, box, score in boxes]


def synthetic_coco(
    images: int, classes: int, objects: int, detections: int, seed: int = 0, digits: int | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return (ground truth, results) in COCO's formats.

    60 % of the detections lie near an object, 2 % of the objects are crowd regions.

    Args:
        images, classes: number of images and classes of the set.
        objects, detections: number per image.
        digits: decimals of the scores; None: not rounded.
    """
    rng = np.random.default_rng(seed)

    def boxes(n: int) -> Any:
        size = np.exp(rng.uniform(np.log(8), np.log(250), (n, 2)))
        return np.concatenate([rng.uniform(0, 1, (n, 2)) * np.maximum(500 - size, 1), size], axis=1)

    g, d = images * objects, images * detections
    # Sorted by image, so that the objects of an image are one range.
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
        # Ids have gaps, as in COCO: an id is no index.
        "images": [{"id": 7 * i + 3} for i in range(images)],
        "categories": [{"id": 3 * k + 1, "name": f"class {k}"} for k in range(classes)],
        "annotations": [
            {
                "id": number,
                "image_id": 7 * i + 3,
                "category_id": 3 * k + 1,
                "bbox": b,
                # COCO's area is that of the mask, which is smaller than the box.
                "area": 0.7 * b[2] * b[3],
                "iscrowd": int(c),
            }
            for number, (i, k, b, c) in enumerate(zip(*columns, strict=True))
        ],
    }
    rows = zip(d_image.tolist(), d_class.tolist(), d_box.tolist(), score.tolist(), strict=True)
    return targets, coco_results([(7 * i + 3, 3 * k + 1, b, s) for i, k, b, s in rows])


def with_polygons(targets: dict[str, Any]) -> dict[str, Any]:
    """Add to the ground truth what pycocotools and tidecv need, in place, and return it.

    Object ids begin at 1, because pycocotools takes a match with object 0 for no match. tidecv needs polygons: here the
    corners of the boxes. Images get a file name and a size.
    """
    for image in targets["images"]:
        image |= {"file_name": f"{image['id']:012}.jpg", "width": 500, "height": 500}
    for one in targets["annotations"]:
        x, y, w, h = one["bbox"]
        one["id"] += 1
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return targets


def write_synthetic_files(folder: Path, images: int, seed: int = 0, compressed: bool = False) -> list[Path]:
    """Write targets.json, and the detections of two detectors, a and b (b: a with noise on the scores).

    Args:
        folder: is created.
        images: number of images.
        seed: of the random numbers.
        compressed: write a .gz beside each file, as runs have them.

    Returns:
        The three files.
    """
    targets, results = synthetic_coco(images, CLASSES, OBJECTS, DETECTIONS, seed)
    noise = np.random.default_rng(seed + 1).normal(0, 0.05, len(results)).tolist()
    other = [{**one, "score": one["score"] + by} for one, by in zip(results, noise, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"targets": with_polygons(targets), "detections": results, "detections-b": other}
    paths = []
    for name, content in contents.items():
        path = folder / f"{name}.json"
        raw = json.dumps(content, separators=(",", ":")).encode()  # as c2d writes it
        path.write_bytes(raw)
        if compressed:
            path.with_suffix(".json.gz").write_bytes(gzip.compress(raw, compresslevel=6, mtime=0))
        paths.append(path)
    return paths
