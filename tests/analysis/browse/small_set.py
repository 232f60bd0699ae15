"""A set of four images with two lists of detections, errors counted by hand; files or runs of a store.

Objects are 40 px squares of classes a and b, and one crowd region. A finds everything but makes a Loc and a Bkg error;
B takes an a for a b and misses an object.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.suite.synthetic_run import write_json
from c2d.core.run_folder import atomic_write_json_gz

DIGEST = "d" * 64
CLASSES = ["a", "b"]
NAMES = ["one.png", "two.png", "three.png", "four.png"]
BOXES = {1: (10, 10, 40, 40), 2: (60, 10, 40, 40), 3: (10, 60, 40, 40), 4: (100, 60, 20, 20)}
TRUTH = [(1, 1, 1), (2, 1, 2), (3, 2, 1), (4, 3, 2)]
"""(object, image, class)"""
CROWD = (100, 10, 19, 80)
A = [
    (1, 1, BOXES[1], 0.9), (1, 2, BOXES[2], 0.8), (2, 1, BOXES[3], 0.8), (3, 2, BOXES[4], 0.7),
    (1, 1, (30, 10, 40, 40), 0.6),  # a third of object 1: Loc
    (4, 2, (5, 5, 30, 30), 0.5),  # nothing there: Bkg
    (2, 1, (102, 20, 10, 10), 0.55),  # in the crowd region
    (3, 1, (0, 0, 9, 9), 0.02),  # too low for the page
]  # fmt: skip
B = [(1, 1, BOXES[1], 0.6), (1, 1, BOXES[2], 0.5), (2, 1, BOXES[3], 0.55)]  # the second is Cls; object 4 is missed


def truth(classes: list[str] | None = None, names: list[str] | None = None) -> dict[str, Any]:
    """Return the ground truth, with other names of classes and files where they are given."""
    boxes = [(number, image, cls, BOXES[number], 0) for number, image, cls in TRUTH]
    boxes.append((5, 2, 1, CROWD, 1))
    return {
        "images": [
            {"id": k, "file_name": name, "width": 120, "height": 100} for k, name in enumerate(names or NAMES, start=1)
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": cls, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
            for n, image, cls, box, crowd in boxes
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(classes or CLASSES, start=1)],
    }


def results(detections: list[Any]) -> list[dict[str, Any]]:
    """Return a COCO results list of (image, class, box, score)."""
    return [
        {"image_id": image, "category_id": cls, "bbox": list(box), "score": score}
        for image, cls, box, score in detections
    ]


def write_images(folder: Path, names: list[str] | None = None) -> Path:
    """Write the pictures; the last one has an orientation and a comment in its EXIF block."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names or NAMES):
        picture = Image.new("RGB", (120, 100), (40 * k, 90, 200 - 40 * k))
        exif = Image.Exif()
        exif[0x010E] = "a secret description"
        picture.save(folder / name, exif=exif)
    return folder


def write_files(folder: Path, **options: Any) -> tuple[Path, Path, Path]:
    """Write ground truth and the detections of A and B; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "truth.json", folder / "A.json", folder / "B.json"
    for path, value in zip(files, (truth(**options), results(A), results(B)), strict=True):
        path.write_text(json.dumps(value))
    return files


def write_run(store: Path, run: str, detections: list[Any], digest: str = DIGEST, split: str = "val") -> Path:
    """Write a finished detector run and the ground truth of its store; return its folder."""
    folder = store / run
    spec = {
        "format": 1, "kind": "detector", "name": run, "dataset": {"name": "small", "digest": digest},
        "teachers": {"classifier": None, "detector": None},
    }  # fmt: skip
    write_json(folder / "spec.json", spec)
    write_json(folder / "status.json", {"format": 1, "state": "done", "attempt": 1})
    found = results(detections)
    recorded = {"format": 1, "kind": "detector", "evaluation_split": split, "AP": None, "detections": len(found)}
    write_json(folder / "result.json", {**recorded, "AP": _ap(found)})
    atomic_write_json_gz(folder / "detections.json.gz", found)
    atomic_write_json_gz(store / "targets" / f"{digest}.json.gz", truth())
    return folder


def _ap(found: list[dict[str, Any]]) -> float | None:
    from c2d.metrics import coco
    from c2d.metrics.coco_data import prepare

    value: float | None = coco.evaluate(prepare(truth(), found))["AP"]
    return value


def write_card(data: Path) -> Path:
    """Write the data set with its pictures under a data root; return the root."""
    card = {"name": "small", "digest": DIGEST, "splits": {"val": {"images": "val"}}}
    write_json(data / "small" / "card.json", card)
    write_images(data / "small" / "val")
    return data
