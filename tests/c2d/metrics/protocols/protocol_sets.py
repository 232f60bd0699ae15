"""Random little sets whose annotations have the key `protocol`, for both protocols at once."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from hypothesis import strategies as st

from c2d.metrics.coco_data import CocoData, prepare

CLASSES = ("Car", "Pedestrian", "Cyclist")
TYPES = (*CLASSES, *CLASSES, "Van", "Person_sitting", "DontCare", "Truck")
HEIGHTS = (20.0, 24.0, 25.0, 26.0, 30.0, 39.0, 40.0, 41.0, 60.0, 60.0, 90.0, 90.0)
WIDTHS = (20.0, 30.0, 45.0)
CATEGORY_IDS = (9, 2, 5)  # of CLASSES; the labels are in ascending order of the ids


class ProtocolSet(NamedTuple):
    """A set in COCO's form, prepared, and the same as plain rows for the references, image by image."""

    truth: dict[str, Any]
    detections: list[dict[str, Any]]
    images: list[dict[str, Any]]

    @property
    def data(self) -> CocoData:
        return prepare(self.truth, self.detections)

    def rows(self, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Objects and detections of one category, with the number of their image."""
        return tuple(
            [
                {**row, "image": i}
                for i, image in enumerate(self.images)
                for row in image[key]
                if row["category"] == name
            ]
            for key in ("objects", "detections")
        )  # type: ignore[return-value]


def edges(box: list[float]) -> tuple[float, float, float, float]:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def protocol_set(rng: random.Random, n_images: int, most_objects: int = 8, whole: bool = True) -> ProtocolSet:
    """Objects side by side and on each other, detections near them.

    `whole`: edges in whole px and few scores, so that overlaps and scores are often equal; else none are.
    """
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for i in range(n_images):
        image: dict[str, Any] = {"objects": [], "detections": []}
        boxes: list[list[float]] = []
        for _ in range(rng.randint(0, most_objects)):
            box = [10.0 * rng.randint(0, 30), 10.0 * rng.randint(0, 9), rng.choice(WIDTHS), rng.choice(HEIGHTS)]
            if boxes and rng.random() < 0.4:
                box = [boxes[-1][0] + rng.choice((0.0, 1.0, 4.0)), *boxes[-1][1:]]
            if not whole:
                box[0] += rng.random()
            boxes.append(box)
            kind = rng.choice(TYPES)
            category = {"Van": "Car", "Person_sitting": "Pedestrian"}.get(kind, kind)
            category = category if category in CLASSES else rng.choice(CLASSES)
            values = {
                "truncated": rng.choice((0.0, 0.0, 0.0, 0.15, 0.3, 0.5, 0.6)),
                "occluded": rng.choice((0, 0, 0, 1, 2, 3)),
            }
            protocol: dict[str, Any] = {"type": kind} if kind == "DontCare" else {"type": kind, **values}
            # Each protocol reads its own keys.
            protocol["difficult"] = int(rng.random() < 0.3)
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": i,
                    "category_id": CATEGORY_IDS[CLASSES.index(category)],
                    "bbox": box,
                    "iscrowd": int(kind not in CLASSES),
                    "protocol": protocol,
                }
            )
            image["objects"].append(
                {"box": edges(box), "category": category, "truncated": 0, "occluded": 0, **protocol}
            )
        for _ in range(rng.randint(0, most_objects)):
            place = rng.randrange(len(boxes)) if boxes and rng.random() < 0.9 else None
            near = [50.0, 50.0, 20.0, 45.0] if place is None else boxes[place]
            shift = (lambda: float(rng.choice((0, 0, 1, 2)))) if whole else (lambda: rng.uniform(-3, 3))
            height = near[3] + rng.choice((-1.0, 0.0, 0.0, 1.0)) + (0.0 if whole else rng.uniform(0.1, 0.4))
            box = [near[0] + shift(), near[1] + shift(), near[2], height]
            score = rng.choice((0.2, 0.4, 0.6, 0.8)) if whole else rng.random()
            right = place is not None and rng.random() < 0.8
            category = image["objects"][place]["category"] if right else rng.choice(CLASSES)
            detections.append(
                {"image_id": i, "category_id": CATEGORY_IDS[CLASSES.index(category)], "bbox": box, "score": score}
            )
            image["detections"].append({"box": edges(box), "category": category, "type": category, "score": score})
        images.append(image)
    truth = {
        "images": [{"id": i} for i in range(n_images)],
        "categories": [{"id": key, "name": name} for key, name in zip(CATEGORY_IDS, CLASSES, strict=True)],
        "annotations": annotations,
    }
    return ProtocolSet(truth, detections, images)


@st.composite
def protocol_sets(draw: st.DrawFn) -> ProtocolSet:
    """Sets of one to four images."""
    return protocol_set(draw(st.randoms(use_true_random=False)), draw(st.integers(1, 4)))
