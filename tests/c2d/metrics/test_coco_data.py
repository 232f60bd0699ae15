"""Input that cannot be evaluated is refused at the door, by name."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.metrics import coco, tide
from c2d.metrics.coco_data import add_detections, prepare, read_truth
from tests.analysis.toy_scenes import coco_results, truth

BOX = [0.0, 0.0, 40.0, 40.0]
TARGETS = truth([(1, 1, BOX), (1, 2, BOX)])
DETECTIONS = coco_results([(1, 1, BOX, 0.9)])


def _with(records: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    return [*records[:-1], {**records[-1], **changes}]


def _without(key: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in DETECTIONS[0].items() if k != key}]


@pytest.mark.parametrize("evaluate", [coco.evaluate, tide.evaluate])
@pytest.mark.parametrize(
    ("detections", "message"),
    [
        (_with(DETECTIONS, image_id=77), r"detections name image_id 77, which the ground truth does not have"),
        (_with(DETECTIONS, category_id=9), r"detections name category_id 9,.*it has 2: 1, 2"),
        (_with(DETECTIONS, image_id="1"), r"image_id '1'"),
        (_with(DETECTIONS, image_id=[1]), r"image_id '\[1\]'"),
        (_with(DETECTIONS, score=math.nan), r"detection number 0: score nan is not finite"),
        (_with(DETECTIONS, score=math.inf), r"score inf is not finite"),
        (_with(DETECTIONS, score="high"), r"score 'high' is not a number"),
        (_with(DETECTIONS, score=None), r"score None is not finite"),
        (_with(DETECTIONS, bbox=[0, 0, math.nan, 1]), r"bbox \[0, 0, nan, 1\] is not finite"),
        (_with(DETECTIONS, bbox=[0, 0, -1, 1]), r"negative width or height"),
        (_with(DETECTIONS, bbox=[0, 0, 1]), r"bbox \[0, 0, 1\] is not four numbers"),
        (_with(DETECTIONS, bbox=None), r"bbox None is not four numbers"),
        (_with(DETECTIONS, bbox=[0, 0, "a", 1]), r"is not four numbers"),
        (_without("score"), r"detection number 0 has no 'score'"),
        (_without("bbox"), r"detection number 0 has no 'bbox'"),
        (_with(DETECTIONS, score=10**400), r"score inf is not finite"),
        (_with(DETECTIONS, bbox=[0, -(10**400), 1, 1]), r"bbox \[0, -inf, 1, 1\] is not finite"),
        (_with(DETECTIONS, bbox=[0, 10**400, "a", 1]), r"is not four numbers"),
        (None, r"no detections given"),
        ({"annotations": []}, r"detections are \{'annotations': \[\]\}, not a list"),
        ("words", r"detections are 'words', not a list"),
    ],
)
def test_detections_that_cannot_be_scored(evaluate, detections, message):
    with pytest.raises(InputError, match=message) as caught:
        evaluate(TARGETS, detections)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, r"no list 'images'"),
        ({"annotations": _with(TARGETS["annotations"], category_id=5)}, r"annotations name category_id 5"),
        ({"annotations": _with(TARGETS["annotations"], id=0)}, r"annotation id 0 occurs more than once"),
        ({"annotations": [{**box, "id": [0]} for box in TARGETS["annotations"]]}, r"annotation id '\[0\]' occurs more"),
        ({"annotations": _with(TARGETS["annotations"], area=10**400)}, r"annotation number 1: area inf is not finite"),
        ({"annotations": _with(TARGETS["annotations"], bbox=[1, 2])}, r"annotation number 1: bbox \[1, 2\]"),
        ({"annotations": _with(TARGETS["annotations"], area="big")}, r"annotation number 1: area 'big'"),
        ({"annotations": _with(TARGETS["annotations"], area=math.inf)}, r"annotation number 1: area inf"),
        ({"images": [{"id": 1}, {"id": 1}]}, r"images: id 1 occurs more than once"),
        ({"images": [{"file_name": "x"}]}, r"images: every entry needs an 'id'"),
        ({"images": [{"id": 1}, {"id": "b"}]}, r"all of one type"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, r"class name 'a' stands for several"),
    ],
)
def test_ground_truth_that_cannot_be_used(change, message):
    with pytest.raises(InputError, match=message):
        prepare({**TARGETS, **change}, DETECTIONS)


def test_many_unknown_images_are_counted_not_listed():
    with pytest.raises(InputError, match=r"image_id 10, 11, 12, 13, 14 and 15 more"):
        prepare(TARGETS, coco_results([(10 + i, 1, BOX, 0.5) for i in range(20)]))


def test_area_and_iscrowd_are_derived_and_a_null_area_too():
    targets = copy.deepcopy(TARGETS)
    targets["annotations"][1]["area"] = None
    data = prepare(targets, [])
    assert data.gt_area.tolist() == [1600.0, 1600.0]
    assert data.gt_crowd.tolist() == [False, False]
    targets["annotations"][0] |= {"area": 100.0, "iscrowd": 1}
    data = prepare(targets, [])
    assert data.gt_area.tolist() == [100.0, 1600.0]
    assert data.gt_crowd.tolist() == [True, False]


def test_prepared_input_passes_through_and_takes_no_second_list():
    data = prepare(TARGETS, DETECTIONS)
    assert prepare(data, None) is data
    with pytest.raises(InputError, match="already holds its detections"):
        prepare(data, DETECTIONS)


def test_ground_truth_read_once_takes_one_list_after_another():
    known = read_truth(TARGETS)
    assert known.sizes == {"images": 1, "boxes": 2, "crowds": 0, "detections": 0}
    data = add_detections(known, DETECTIONS)
    assert coco.evaluate(data) == coco.evaluate(TARGETS, DETECTIONS)
    assert coco.evaluate(add_detections(data, [])) == coco.evaluate(TARGETS, [])
