"""KITTI's AP: by paper and pencil, and against a literal reference."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings

from c2d.core.errors import InputError
from c2d.metrics.coco_data import prepare
from c2d.metrics.protocols import kitti
from c2d.metrics.protocols.evaluate_protocol import evaluate_protocol
from c2d.metrics.protocols.protocol_names import DIFFICULTIES, KITTI_IOUS, KITTI_MEANS, POSITIONS, kitti_numbers
from tests.c2d.metrics.protocols.protocol_sets import CLASSES, ProtocolSet, protocol_set, protocol_sets
from tests.reference import kitti_protocol_reference as reference

BOX = [0.0, 0.0, 50.0, 50.0]
FAR = [500.0, 0.0, 50.0, 50.0]


def _cars(objects: list[tuple[Any, ...]], found: list[tuple[Any, ...]], copies: int = 100) -> dict[str, Any]:
    """Numbers of cars on `copies` equal images: (type, box[, truncated, occluded]), (class, box, score)."""
    annotations, detections = [], []
    for i in range(copies):
        for kind, box, *values in objects:
            truncated, occluded = values or (0.0, 0)
            protocol = {"type": kind, "truncated": truncated, "occluded": occluded}
            annotations.append({"image_id": i, "category_id": 1, "bbox": box, "protocol": protocol})
        for kind, box, score in found:
            detections.append({"image_id": i, "category_id": 1 + CLASSES.index(kind), "bbox": box, "score": score})
    targets = {
        "images": [{"id": i} for i in range(copies)],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)],
        "annotations": annotations,
    }
    result = kitti.evaluate(annotations, prepare(targets, detections))
    cars: dict[str, Any] = result["per_class"]["Car"]
    return cars


def _easy(objects: list[tuple[Any, ...]], found: list[tuple[Any, ...]]) -> float | None:
    value: float | None = _cars(objects, found)["AP70_R40_easy"]
    return value


def test_right_and_wrong_cars_computed_by_hand():
    assert _easy([("Car", BOX)], [("Car", BOX, 0.9)]) == 1
    # One more detection an image, on nothing and with a higher score: precision 1/2 at every threshold.
    assert _easy([("Car", BOX)], [("Car", BOX, 0.9), ("Car", FAR, 0.95)]) == pytest.approx(1 / 2)
    assert _easy([("Car", BOX)], [("Car", BOX, 0.9), ("Car", FAR, 0.5)]) == 1
    # Half of the cars are found: precision 1 at the recalls 0, 1/40, ..., 20/40.
    found = _cars([("Car", BOX), ("Car", FAR)], [("Car", BOX, 0.9)])
    assert found["AP70_R40_easy"] == pytest.approx(20 / 40)
    assert found["AP70_R11_easy"] == pytest.approx(6 / 11)
    assert found["objects"] == {"easy": 200, "moderate": 200, "hard": 200}
    assert _easy([("Car", BOX)], []) == 0
    assert _easy([("Truck", BOX)], [("Car", BOX, 0.9)]) is None


@pytest.mark.parametrize(("objects", "r40"), [(10, 0.225), (40, 0.975), (41, 1.0), (100, 1.0)])
def test_few_objects_cannot_fill_the_recall_positions(objects, r40):
    assert _cars([("Car", BOX)], [("Car", BOX, 0.9)], objects)["AP70_R40_hard"] == pytest.approx(r40)


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        ((50.0, 0.15, 0), "easy moderate hard"),
        ((40.1, 0.0, 0), "easy moderate hard"),
        ((40.0, 0.0, 0), "moderate hard"),
        ((50.0, 0.16, 0), "moderate hard"),
        ((50.0, 0.0, 1), "moderate hard"),
        ((50.0, 0.3, 2), "hard"),
        ((50.0, 0.5, 2), "hard"),
        ((50.0, 0.51, 0), ""),
        ((50.0, 0.0, 3), ""),
        ((25.0, 0.0, 0), ""),
    ],
)
def test_objects_of_a_difficulty(values, counted):
    height, truncated, occluded = values
    found = _cars([("Car", [0.0, 0.0, 50.0, height], truncated, occluded)], [], 3)
    assert [name for name, n in found["objects"].items() if n] == counted.split()
    assert [name for name in DIFFICULTIES if found[f"AP70_R11_{name}"] is not None] == counted.split()


@pytest.mark.parametrize("kind", ["Van", "van", "Car"])
def test_a_detection_of_an_ignored_object_is_neither_right_nor_wrong(kind):
    ignored = (kind, FAR, 0.9, 3)
    assert _easy([("Car", BOX), ignored], [("Car", BOX, 0.8), ("Car", FAR, 0.9)]) == 1
    # A second one is wrong: the object takes one.
    assert _easy([("Car", BOX), ignored], [("Car", BOX, 0.8), *[("Car", FAR, 0.9)] * 2]) == pytest.approx(1 / 2)


def test_other_types_are_not_ignored():
    for kind in ("Truck", "Pedestrian", "Person_sitting"):
        assert _easy([("Car", BOX), (kind, FAR)], [("Car", BOX, 0.8), ("Car", FAR, 0.9)]) == pytest.approx(1 / 2)


@pytest.mark.parametrize(("width", "value"), [(35.0, 1 / 2), (36.0, 1.0)])
def test_a_region_takes_detections_by_their_own_area(width, value):
    # 50 px wide detections of which 70 or 72 % lie inside; a region takes any number of them.
    region = ("DontCare", [500.0, -100.0, width, 1000.0])
    wrong = ("Car", FAR, 0.9)
    assert _easy([("Car", BOX), region], [("Car", BOX, 0.8), wrong]) == pytest.approx(value)
    assert _easy([("Car", BOX), region], [("Car", BOX, 0.8), wrong, wrong]) == pytest.approx(1 if value == 1 else 1 / 3)


def test_a_small_detection_is_not_wrong_and_leaves_its_object_unmissed():
    low = [500.0, 0.0, 50.0, 39.9]
    assert _easy([("Car", BOX)], [("Car", BOX, 0.8), ("Car", low, 0.9)]) == 1
    assert _cars([("Car", BOX)], [("Car", BOX, 0.8), ("Car", low, 0.9)])["AP70_R40_moderate"] == pytest.approx(1 / 2)
    # The object of 41 px has a detection of 39 px alone: no true positive, so no threshold.
    assert _easy([("Car", [0.0, 0.0, 50.0, 41.0])], [("Car", [0.0, 0.0, 50.0, 39.0], 0.9)]) == 0
    # As the tool does it, a low detection of another class takes part.
    cars = [("Car", BOX), ("Car", [500.0, 0.0, 50.0, 41.0])]
    found = [("Car", BOX, 0.8), ("Car", [500.0, 0.0, 50.0, 45.0], 0.6)]
    assert _easy(cars, found) == 1
    assert _easy(cars, [*found, ("Pedestrian", [500.0, 0.0, 50.0, 39.5], 0.7)]) == pytest.approx(20 / 40)


def test_an_iou_has_to_exceed_the_threshold():
    assert _easy([("Car", [0.0, 0.0, 50.0, 100.0])], [("Car", [0.0, 0.0, 50.0, 70.0], 0.9)]) == 0
    assert _easy([("Car", [0.0, 0.0, 50.0, 100.0])], [("Car", [0.0, 0.0, 50.0, 71.0], 0.9)]) == 1


def _check(given_set: ProtocolSet) -> dict[str, Any]:
    result = kitti.evaluate(given_set.truth["annotations"], given_set.data)
    found: dict[tuple[str, ...], list[float]] = {}
    for name in CLASSES:
        numbers = result["per_class"][name]
        for level, difficulty in enumerate(DIFFICULTIES):
            expected = reference.average_precisions(given_set.images, name.lower(), level)
            keys = [f"AP{100 * KITTI_IOUS[name]:.0f}_{positions}_{difficulty}" for positions in POSITIONS]
            if expected is None:
                assert [numbers[key] for key in keys] == [None, None]
                continue
            assert [numbers[key] for key in keys] == pytest.approx(expected, abs=1e-12)
            for positions, value in zip(POSITIONS, expected, strict=True):
                found.setdefault((positions, difficulty), []).append(value)
                found.setdefault((positions, "mean"), []).append(value)
    assert {key: result[key] for key in KITTI_MEANS} == {
        key: pytest.approx(sum(values) / len(values)) if (values := found.get(tuple(key.split("_")[1:]), [])) else None
        for key in KITTI_MEANS
    }
    return result


@settings(max_examples=60, deadline=None)
@given(protocol_sets())
def test_equals_the_reference(given_set):
    _check(given_set)


def test_equals_the_reference_on_many_images():
    for whole in (True, False):
        result = _check(protocol_set(random.Random(5), 150, whole=whole))
        assert {key: result[key] for key in KITTI_MEANS if not 0.01 < result[key] < 0.99} == {}


def test_classes_that_the_data_set_lacks_have_no_numbers():
    given_set = protocol_set(random.Random(2), 3)
    renamed = [{**row, "name": row["name"].lower() if row["name"] == "Car" else "x" + row["name"]}
               for row in given_set.truth["categories"]]  # fmt: skip
    data = prepare({**given_set.truth, "categories": renamed}, given_set.detections)
    result = evaluate_protocol("kitti", given_set.truth["annotations"], data)["kitti"]
    assert list(result["per_class"]) == ["Car"]
    assert set(result["per_class"]["Car"]) == {*kitti_numbers("Car"), "objects"}
    with pytest.raises(InputError, match="did you mean 'kitti'"):
        evaluate_protocol("kiti", [], data)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"type": 1},
        {"type": "Car"},
        {"type": "Car", "truncated": "0"},
        {"type": "Car", "truncated": float("nan"), "occluded": 0},
        {"type": "Car", "truncated": 10**400, "occluded": 0},
        {"type": "Car", "truncated": 0, "occluded": -1},
    ],
)
def test_an_annotation_without_what_is_read_is_refused(value):
    given_set = protocol_set(random.Random(1), 4)
    given_set.truth["annotations"][0]["protocol"] = value
    with pytest.raises(InputError, match="annotation 0 has protocol"):
        kitti.evaluate(given_set.truth["annotations"], given_set.data)


def test_the_means_of_a_published_table_are_those_of_its_nine_numbers():
    """FGFI's KITTI rows: its mAP is the mean over classes and difficulties, as `AP_R11_mean` is."""
    from analysis.loading.published_file import load_published

    rows = [row.other for row in load_published() if row.text["paper_key"] == "fgfi" and "car E" in row.other]
    assert len(rows) == 5
    for row in rows:
        nine = [float(value) for name, value in row.items() if name != "mAP"]
        assert len(nine) == 9
        assert sum(nine) / 9 == pytest.approx(float(row["mAP"]), abs=0.05)
