"""Outputs that lie on the boxes of another class than their name says: a sign of a class list in the wrong order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

IOU = 0.5
MOVED = 0.15
"""Share of the boxes that another pairing of outputs and classes would have to name better before it is said."""
FEWEST = 10


def misnamed_outputs(truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> dict[Any, Any]:
    """Return {category: category of the boxes that it lies on} where outputs seem to have each other's names.

    Each box of the ground truth counts for its best detection at IoU 0.5, of whatever class. The pairs of detected and
    true class that are most frequent are taken one after the other, each class once; where they name clearly more boxes
    than equal classes do, the unequal ones are returned.

    Args:
        truth: COCO ground truth.
        detections: COCO results list, boxes x, y, w, h in px.

    Returns:
        Empty where there is no such sign, or too few boxes to tell.
    """
    counts = _confusion(truth, detections)
    total, by_name = sum(counts.values()), sum(count for (a, b), count in counts.items() if a == b)
    pairs: dict[Any, Any] = {}
    named = 0
    for (detected, true), count in sorted(counts.items(), key=lambda item: (-item[1], item[0][0] != item[0][1])):
        if detected not in pairs and true not in pairs.values():
            pairs[detected] = true
            named += count
    if total < FEWEST or named - by_name <= MOVED * total:
        return {}
    return {detected: true for detected, true in pairs.items() if detected != true}


def _confusion(truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, Any], int]:
    """{(detected class, true class): boxes}."""
    found: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for one in detections:
        found[one["image_id"]].append(one)
    counts: dict[tuple[Any, Any], int] = defaultdict(int)
    for box in truth["annotations"]:
        rows = found.get(box["image_id"], []) if not box.get("iscrowd") else []
        if rows:
            overlap = _iou(np.array([row["bbox"] for row in rows], dtype=np.float64), np.array(box["bbox"], np.float64))
            scores = np.where(overlap >= IOU, [row["score"] for row in rows], -1.0)
            if scores.max() >= 0:
                counts[rows[int(scores.argmax())]["category_id"], box["category_id"]] += 1
    return counts


def _iou(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """IoU of (N, 4) with (4,), xywh."""
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    inside = np.clip(high - low, 0, None).prod(axis=1)
    union = boxes[:, 2:].prod(axis=1) + box[2:].prod() - inside
    return np.asarray(inside / np.where(union > 0, union, 1.0))
