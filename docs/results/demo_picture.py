"""Draw docs/results/demo.png from a finished demo: `python docs/results/demo_picture.py [RUNS] [DATA]`.

The first four validation scenes with at least five objects, not chosen by hand: ground truth, baseline, c2d. At each
place (IoU 0.5) the detection of the highest score, if it is at least 0.25: white where class and place are right, red
where the class is wrong, blue else.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle
from PIL import Image

MIN_SCORE = 0.25


def iou(a: list[float], b: list[float]) -> float:
    """IoU of two [x, y, w, h] boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def verdict(found: dict[str, Any], truth: list[dict[str, Any]]) -> str:
    """Colour of a detection."""
    near = [box for box in truth if iou(found["bbox"], box["bbox"]) >= 0.5]
    if any(box["category_id"] == found["category_id"] for box in near):
        return "white"
    return "#ff3030" if near else "#40a0ff"


def best_of_each_place(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Detections of an image that no better-scored one of any class overlaps by half."""
    kept: list[dict[str, Any]] = []
    for item in sorted(found, key=lambda item: -item["score"]):
        if item["score"] >= MIN_SCORE and all(iou(item["bbox"], other["bbox"]) < 0.5 for other in kept):
            kept.append(item)
    return kept


def main(runs: Path, data: Path) -> None:
    demo = json.loads((runs / "sweeps" / "demo.json").read_text())
    names = {cell["labels"]["method"]: cell["run"] for cell in demo["cells"] if cell["seed"] == 0}
    found = {
        method: json.loads(gzip.decompress((runs / names[method] / "detections.json.gz").read_bytes()))
        for method in ("baseline", "c2d")
    }
    truth = json.loads((data / "scenes" / "annotations" / "instances_val.json").read_text())
    classes = {item["id"]: item["name"] for item in truth["categories"]}
    boxes: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in truth["images"]}
    for box in truth["annotations"]:
        if not box.get("iscrowd"):
            boxes[box["image_id"]].append(box)
    chosen = [image for image in truth["images"] if len(boxes[image["id"]]) >= 5][:4]
    figure, axes = plt.subplots(3, 4, figsize=(12, 9.2), layout="constrained")
    for column, image in enumerate(chosen):
        pixels = Image.open(data / "scenes" / "val" / image["file_name"])
        for row, title in enumerate(("ground truth", "baseline", "c2d")):
            axis = axes[row, column]
            axis.imshow(pixels, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if column == 0:
                axis.set_ylabel(title, fontsize=14)
            mine = boxes[image["id"]]
            here = [item for item in found.get(title, []) if item["image_id"] == image["id"]]
            shown = mine if row == 0 else best_of_each_place(here)
            for item in shown:
                colour = "white" if row == 0 else verdict(item, mine)
                x, y, width, height = item["bbox"]
                axis.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=1.6))
                label = classes[item["category_id"]] + ("" if row == 0 else f" {item['score']:.2f}")
                axis.text(x + 1, max(y - 1.5, 6), label, color=colour, fontsize=7, clip_on=True,
                          bbox={"facecolor": "black", "alpha": 0.5, "pad": 0.6, "linewidth": 0})  # fmt: skip
    path = Path(__file__).with_name("demo.png")
    figure.savefig(path, dpi=90)
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"), Path(sys.argv[2] if len(sys.argv) > 2 else "data"))
