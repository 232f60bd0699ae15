"""An example store to try the analysis on: made-up detectors, whose numbers are measured on their detections.

    python -m benchmarks.suite.example_store RUNS

Unlike a store of `benchmarks.suite.synthetic_store`, every number of a result.json is that of the detections beside it,
so tables, figures of detections and comparisons agree. It takes two seconds and needs no torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite import synthetic_run
from benchmarks.suite.synthetic_run import write_json, write_json_gz
from benchmarks.suite.synthetic_store import make_store
from c2d.metrics import coco, tide
from c2d.metrics.coco_data import prepare

SWEEP = "example"
AXES = {"model": ["small", "large"], "method": ["baseline", "kd", "kd-boxes"]}
CLASSES = ("bicycle", "car", "dog", "person")
IMAGES, SIDE = 40, 320
QUALITY = {"small": 0.0, "large": 0.1, "baseline": 0.0, "kd": 0.025, "kd-boxes": 0.045}
"""What each label adds to the share of objects that are found."""
PARAMS, LATENCY_MS = {"small": 1.3e6, "large": 4.1e6}, {"small": 4.0, "large": 7.5}
BACKENDS = {"eager": 1.0, "onnx": 0.6}


def make_example_store(runs: Path | str) -> dict[str, Any]:
    """Write a store with one sweep: two students, three methods, three seeds, one failed run; return its record.

    Args:
        runs: the store; its folder is made.
    """
    runs = Path(runs)
    failed = ({"model": "large", "method": "kd-boxes"}, 2)
    record = make_store(
        runs, AXES, name=SWEEP, state=lambda labels, seed: "failed" if (labels, seed) == failed else "done"
    )
    record["question"] = "Do soft labels and boxes of a teacher help a small and a large student?"
    write_json(runs / "sweeps" / f"{SWEEP}.json", record)
    truth = _truth(np.random.default_rng(7))
    write_json_gz(runs / "targets" / f"{synthetic_run.DIGEST}.json.gz", truth)
    for cell in record["cells"]:
        folder, labels = runs / cell["run"], cell["labels"]
        if (folder / "result.json").exists():
            _measure(folder, labels, cell["seed"], truth)
            for backend in BACKENDS:
                write_json(folder / "latency" / f"{backend}.json", _latency(labels, cell["seed"], backend))
    return record


def _measure(folder: Path, labels: Mapping[str, str], seed: int, truth: Mapping[str, Any]) -> None:
    """Write detections of one run, and the numbers that they have."""
    quality = sum(QUALITY[label] for label in labels.values())
    # Seeds of one student see the same images as hard, so that differences between its methods are paired.
    found = _detections(np.random.default_rng([seed, len(labels["model"])]), truth, quality)
    data = prepare(truth, found)
    result = json.loads((folder / "result.json").read_text())
    result |= {**coco.evaluate(data), "tide": tide.evaluate(data, ious=tide.IOUS)}
    result["params"] = int(PARAMS[labels["model"]])
    write_json(folder / "result.json", result)
    write_json_gz(folder / "detections.json.gz", found)


def _truth(random: np.random.Generator) -> dict[str, Any]:
    """COCO ground truth of small, medium and large objects; boxes are x, y, w, h in px."""
    annotations: list[dict[str, Any]] = []
    for image in range(IMAGES):
        for _ in range(int(random.integers(2, 8))):
            w, h = np.exp(random.uniform(np.log(14), np.log(150), 2))
            x, y = random.uniform(0, SIDE - w), random.uniform(0, SIDE - h)
            category = int(random.choice(len(CLASSES), p=(0.15, 0.35, 0.2, 0.3))) + 1
            annotations.append({
                "id": len(annotations) + 1, "image_id": image + 1, "category_id": category, "iscrowd": 0,
                "bbox": [float(x), float(y), float(w), float(h)], "area": float(w * h),
            })  # fmt: skip
    return {
        "images": [{"id": i + 1, "width": SIDE, "height": SIDE, "file_name": f"{i + 1}.png"} for i in range(IMAGES)],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)],
        "annotations": annotations,
    }


def _detections(random: np.random.Generator, truth: Mapping[str, Any], quality: float) -> list[dict[str, Any]]:
    """Detections of a detector that finds, names and places more objects well the higher its quality."""
    out = []
    for box in truth["annotations"]:
        chance, named, score = random.uniform(size=3)
        shift, scale = random.normal(size=2), random.normal(size=2)
        if chance > 0.62 + quality:
            continue
        x, y, w, h = box["bbox"]
        off = 0.1 - 0.2 * quality
        w, h, x, y = (
            w * np.exp(off * scale[0]),
            h * np.exp(off * scale[1]),
            x + off * w * shift[0],
            y + off * h * shift[1],
        )
        right = named < 0.82 + quality
        category = box["category_id"] if right else box["category_id"] % len(CLASSES) + 1
        out.append(_detection(box["image_id"], category, (x, y, w, h), 0.35 + 0.6 * score if right else 0.55 * score))
    for image in truth["images"]:
        for _ in range(int(random.poisson(1.5))):
            w, h = random.uniform(15, 90, 2)
            box = random.uniform(0, SIDE - w), random.uniform(0, SIDE - h), w, h
            out.append(_detection(image["id"], int(random.integers(1, len(CLASSES) + 1)), box, 0.6 * random.random()))
    return out


def _detection(image: int, category: int, box: tuple[float, ...], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [float(side) for side in box], "score": float(score)}


def _latency(labels: Mapping[str, str], seed: int, backend: str) -> dict[str, Any]:
    """The content of a latency file: three launches of 40 samples."""
    random = np.random.default_rng([seed, len(backend)])
    typical = LATENCY_MS[labels["model"]] * BACKENDS[backend]
    launches = [typical * (1 + 0.01 * random.normal() + 0.02 * random.gamma(1.0, size=40)) for _ in range(3)]
    return {
        "format": 1,
        "device": "example GPU",
        "conditions": {"backend": backend, "precision": "fp32", "batch": 1, "input": f"{SIDE}x{SIDE}",
                       "stage": "end to end"},
        "launches": [{"samples_ms": samples.tolist()} for samples in launches],
        "disturbed": None,
        "flops": int(PARAMS[labels["model"]] * 900),
        "params": int(PARAMS[labels["model"]]),
        "env": {"python": "3.11.7", "packages": {"torch": "2.15.0"}},
    }  # fmt: skip


if __name__ == "__main__":
    make_example_store(sys.argv[1])
    print(f"{sys.argv[1]}: an example store; open it with analysis.load({sys.argv[1]!r})")
