"""VOC's AP: by paper and pencil, and against a literal reference (against mmdet: `test_protocol_numbers`)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings

from c2d.core.errors import InputError
from c2d.metrics import coco
from c2d.metrics.coco_data import prepare
from c2d.metrics.protocols import voc
from tests.analysis.toy_scenes import coco_results, truth
from tests.c2d.metrics.protocols.protocol_sets import CLASSES, ProtocolSet, protocol_set, protocol_sets
from tests.reference import voc_protocol_reference as reference

AREA, ELEVEN = "AP50_area_difficult_ignored", "AP50_11point_difficult_ignored"
A1, A2, A3 = (0, 0, 40, 40), (100, 0, 40, 40), (200, 0, 40, 40)


def _numbers(objects: list[tuple[Any, int]], found: list[tuple[Any, float]]) -> dict[str, Any]:
    """The result of one image and class: (box, difficult), (box, score)."""
    targets = truth([(1, 1, box) for box, _ in objects])
    for row, (_, difficult) in zip(targets["annotations"], objects, strict=True):
        row["protocol"] = {"difficult": difficult}
    return voc.evaluate(targets["annotations"], prepare(targets, coco_results([(1, 1, *one) for one in found])))


def test_a_curve_computed_by_hand():
    # Right, wrong, right: precision 1 up to recall 1/2, 2/3 up to recall 1. Six of the 11 levels are at most 1/2.
    result = _numbers([(A1, 0), (A2, 0)], [(A1, 0.9), ((300, 300, 40, 40), 0.8), (A2, 0.7)])
    assert result[AREA] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert result[ELEVEN] == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert result["per_class"]["a"] == {AREA: result[AREA], ELEVEN: result[ELEVEN], "objects": 2, "difficult": 0}
    assert result["per_class"]["b"] == {AREA: None, ELEVEN: None, "objects": 0, "difficult": 0}


def test_a_level_of_recall_is_compared_exactly():
    # 3 of 10 objects are found: the levels 0, 0.1, 0.2 and 0.3, though 0.3 < 3 * 0.1 in floating point.
    objects = [((50 * i, 0, 40, 40), 0) for i in range(10)]
    assert _numbers(objects, [(box, 0.9) for box, _ in objects[:3]])[ELEVEN] == pytest.approx(4 / 11)


def test_a_difficult_object_is_neither_found_nor_missed():
    alone = _numbers([(A1, 0)], [(A1, 0.5)])
    beside = _numbers([(A1, 0), (A2, 1)], [(A2, 0.9), (A2, 0.8), (A1, 0.5)])
    assert alone[AREA] == beside[AREA] == alone[ELEVEN] == beside[ELEVEN] == 1
    assert (beside["objects"], beside["difficult"]) == (1, 1)
    assert _numbers([(A1, 1)], [(A1, 0.9)])[AREA] is None


def test_the_second_detection_of_an_object_is_wrong_even_near_a_free_one():
    # COCO would give the second detection the free object, VOC's devkit does not: its best object is taken.
    objects = [((0, 0, 40, 40), 0), ((4, 0, 40, 40), 0)]
    found = [((0, 0, 40, 40), 0.9), ((1, 0, 40, 40), 0.8)]
    assert _numbers(objects, found)[AREA] == pytest.approx(1 / 2)
    assert coco.evaluate(truth([(1, 1, box) for box, _ in objects]), coco_results([(1, 1, *f) for f in found]))[
        "AP50"
    ] == pytest.approx(1)


def test_an_iou_of_one_half_counts_and_the_101st_detection_too():
    assert _numbers([(A1, 0)], [((0, 0, 40, 20), 0.9)])[AREA] == 1
    assert _numbers([(A1, 0)], [((0, 0, 40, 19), 0.9)])[AREA] == 0
    many = [((500, 500 + i, 40, 40), 0.9 - i / 1000) for i in range(150)]
    assert _numbers([(A1, 0)], [*many, (A1, 0.1)])[AREA] == pytest.approx(1 / 151)


def test_widths_of_the_devkit_and_continuous_ones():
    """The devkit numbers pixels and adds 1 to every width; a box in pixel edges has that width already."""
    # Pixels 1 to 10 and 1 to 5 in x: the devkit's IoU is 50 / 100, as is ours of the edges 0 to 10 and 0 to 5.
    assert reference.iou((1, 1, 10, 10), (1, 1, 5, 10), 1) == reference.iou((0, 0, 10, 10), (0, 0, 5, 10), 0) == 0.5
    assert _numbers([((0, 0, 10, 10), 0)], [((0, 0, 5, 10), 0.9)])[AREA] == 1
    # 1 added to the widths of edges: (4.9 + 1) x 11 of 11 x 11 is above 0.5, 4.9 x 10 of 10 x 10 is below.
    thing = {"image": 0, "box": (0, 0, 10, 10), "difficult": 0}
    one = {"image": 0, "box": (0, 0, 10, 4.9), "score": 0.9}
    added, continuous = (reference.average_precisions([thing], reference.curve([thing], [one], by)) for by in (1, 0))
    assert (added, continuous) == (pytest.approx((1, 1)), (0, 0))
    assert _numbers([((0, 0, 10, 10), 0)], [((0, 0, 10, 4.9), 0.9)])[AREA] == 0


def _check(given_set: ProtocolSet) -> None:
    result = voc.evaluate(given_set.truth["annotations"], given_set.data)
    values = []
    for name in CLASSES:
        objects, found = given_set.rows(name)
        expected = reference.average_precisions(objects, reference.curve(objects, found))
        assert (result["per_class"][name][ELEVEN], result["per_class"][name][AREA]) == (
            (None, None) if expected is None else pytest.approx(expected, abs=1e-12)
        )
        values += [] if expected is None else [expected[1]]
    assert result[AREA] == (pytest.approx(sum(values) / len(values)) if values else None)


@settings(max_examples=60, deadline=None)
@given(protocol_sets())
def test_equals_the_reference(given_set):
    _check(given_set)


def test_equals_the_reference_on_many_images():
    for whole in (True, False):
        _check(protocol_set(random.Random(7), 80, whole=whole))


def test_cocos_numbers_do_not_read_the_key():
    given_set = protocol_set(random.Random(1), 20)
    without = {
        **given_set.truth,
        "annotations": [{k: v for k, v in row.items() if k != "protocol"} for row in given_set.truth["annotations"]],
    }
    assert coco.evaluate(given_set.truth, given_set.detections) == coco.evaluate(without, given_set.detections)


@pytest.mark.parametrize("value", [None, {}, {"difficult": 2}, {"difficult": "yes"}, [1]])
def test_an_annotation_without_the_flag_is_refused(value):
    targets = truth([(1, 1, A1)])
    targets["annotations"][0]["protocol"] = value
    with pytest.raises(InputError, match="annotation 0 has protocol"):
        voc.evaluate(targets["annotations"], prepare(targets, []))
