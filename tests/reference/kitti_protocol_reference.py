"""KITTI's 2D evaluation, image by image and threshold by threshold, as its tool does it. Imports nothing of ours.

An image is {"objects": [{"type", "truncated", "occluded", "box"}], "detections": [{"type", "box", "score"}]}; boxes are
(left, top, right, bottom).
"""

from __future__ import annotations

from typing import Any

HEIGHT, OCCLUSION, TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.3, 0.5)
OVERLAP = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting"}


def common(a: Any, b: Any) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def area(a: Any) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def status_of_object(thing: dict[str, Any], name: str, level: int) -> str:
    kind = thing["type"].lower()
    if kind not in (name, NEIGHBOUR.get(name)):
        return "other"
    low = thing["box"][3] - thing["box"][1] <= HEIGHT[level]
    hard = thing["occluded"] > OCCLUSION[level] or thing["truncated"] > TRUNCATION[level] or low
    return "ignored" if hard or kind != name else "counts"


def status_of_detection(one: dict[str, Any], name: str, level: int) -> str:
    if one["box"][3] - one["box"][1] < HEIGHT[level]:
        return "ignored"
    return "counts" if one["type"].lower() == name else "other"


def visit(image: dict[str, Any], name: str, level: int, threshold: float | None) -> tuple[list[float], int, int]:
    """(scores of the true positives, their number, number of false positives); a first visit has no threshold."""
    objects, detections = image["objects"], image["detections"]
    of_object = [status_of_object(thing, name, level) for thing in objects]
    of_detection = [status_of_detection(one, name, level) for one in detections]
    used = [False] * len(detections)
    below = [threshold is not None and one["score"] < threshold for one in detections]
    scores: list[float] = []
    for thing, status in zip(objects, of_object, strict=True):
        if status == "other":
            continue
        chosen: int | None = None
        key: tuple[float, ...] = ()
        for j, one in enumerate(detections):
            if of_detection[j] == "other" or used[j] or below[j]:
                continue
            inter = common(one["box"], thing["box"])
            overlap = inter / (area(one["box"]) + area(thing["box"]) - inter) if inter else 0.0
            if overlap <= OVERLAP[name]:
                continue
            rank: tuple[float, ...]
            if threshold is None:
                rank = (one["score"],)
            else:
                rank = (1.0, overlap) if of_detection[j] == "counts" else (0.0, 0.0)
            if chosen is None or rank > key:
                chosen, key = j, rank
        if chosen is None:
            continue
        used[chosen] = True
        if status == "counts" and of_detection[chosen] == "counts":
            scores.append(detections[chosen]["score"])
    false = 0
    for j, one in enumerate(detections):
        if used[j] or below[j] or of_detection[j] != "counts":
            continue
        regions = [thing["box"] for thing in objects if thing["type"].lower() == "dontcare"]
        own = area(one["box"])
        false += not any(own and common(one["box"], region) / own > OVERLAP[name] for region in regions)
    return scores, len(scores), false


def precisions(images: list[dict[str, Any]], name: str, level: int) -> list[float] | None:
    """Precision at 41 recall positions; None without an object that counts."""
    n = sum(status_of_object(thing, name, level) == "counts" for image in images for thing in image["objects"])
    if n == 0:
        return None
    scores = sorted((s for image in images for s in visit(image, name, level, None)[0]), reverse=True)
    thresholds: list[float] = []
    wanted = 0.0
    for i, score in enumerate(scores):
        left = (i + 1) / n
        right = (i + 2) / n if i < len(scores) - 1 else left
        if right - wanted < wanted - left and i < len(scores) - 1:
            continue
        thresholds.append(score)
        wanted += 1 / 40
    curve = [0.0] * 41
    for t, threshold in enumerate(thresholds):
        visits = [visit(image, name, level, threshold) for image in images]
        true, false = sum(v[1] for v in visits), sum(v[2] for v in visits)
        curve[t] = true / (true + false) if true + false else 0.0
    return [max(curve[t:]) for t in range(41)]


def average_precisions(images: list[dict[str, Any]], name: str, level: int) -> tuple[float, float] | None:
    """(R40, R11)."""
    curve = precisions(images, name, level)
    return None if curve is None else (sum(curve[1:]) / 40, sum(curve[::4]) / 11)
