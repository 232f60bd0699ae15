"""Content of a page of diagnostics for tests: ordinary, without any target, and with texts that try to break out."""

from __future__ import annotations

import math
from typing import Any

from PIL import Image

from c2d.impressions.page.diagnostics import diagnostics_page
from c2d.impressions.page.sheet import encode_image

HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e\0"
SCHEDULE = {
    "name": "moi",
    "values": {"images": 3, "targets": {"objects": [1, 5], "soft_labels": True}, "final": {"size": None, "lr": 0.1}},
}


def events() -> list[dict[str, Any]]:
    """Two batches, each with a draft of 30 and a final of 50 iterations, counted on through all."""
    found, begun = [], 0
    for batch in range(2):
        for stage, steps in (("draft", 30), ("final", 50)):
            for step in range(0, steps, 5):
                terms = {"loss_detection": 4.0 * math.exp(-step / 10) + batch, "loss_tv_l1": 0.01}
                found.append(
                    {"iteration": begun + step, "batch": batch, "stage": stage, "loss": sum(terms.values()), **terms}
                    | {"targets": 1 + step / 10 if stage == "draft" else 4.0}
                )
            begun += steps
    return found


def page(kind: str = "optimised", name: str = "bee", boxes: int = 3, lines: list[dict[str, Any]] | None = None) -> str:
    """A page; `boxes` = 0 has images without targets, `name` is that of the second class."""
    images = [{"id": n, "file_name": f"{n}.png", "width": 100, "height": 50} for n in range(1, 4)]
    rows = [
        {"id": n + 1, "image_id": 1 if n < 2 else 2, "category_id": 1 + n % 2, "area": 50.0 * 4**n}
        for n in range(boxes)
    ]
    shares = {"ant": 1.0, name: 0.5} if boxes else {"ant": None, name: None}
    result = {
        "images_from": kind,
        "images": 3,
        "boxes": boxes,
        "soft_labels": True,
        "redetected": 0.89996 if boxes else None,
        "redetected_by_class": shares,
        "redetected_by_size": {"small": 1.0 if boxes else None, "medium": None, "large": None},
        "redetected_images": 0.5 if boxes else None,
        "unmatched_detections": 1234,
        "redetection": {"iou": 0.5, "min_score": 0.3},
        "labels": {"ant": 2, name: 1} if boxes else {"ant": 0, name: 0},
        "label_uniformity": None,
        "seconds": 90.0,
        "images_per_minute": 2.0,
        "memory_mib": None,
        "terms_dropped": {"batch_norm": f"no layer of {name}"},
        "notes": [f"a note on {name}"],
        "teacher": {"run": f"teacher-{name}", "sha256": "0123456789abcdef", "AP": 0.5},
        "card_digest": "fedcba9876543210",
    }
    coco = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "ant"}, {"id": 2, "name": name}]}
    sheet = encode_image(Image.linear_gradient("L").convert("RGB"), "JPEG", 128)
    found = events() if lines is None else lines
    return diagnostics_page(f"run-{name}", SCHEDULE, coco, result, found, sheet)
