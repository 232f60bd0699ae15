"""The check finds agreement where there is some, and a difference where one is put in."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings

from c2d.metrics import engine_parity, tide
from c2d.metrics.coco_data import prepare
from tests.analysis.toy_scenes import coco_results, small_sets, synthetic_coco, truth


@pytest.mark.parametrize("digits", [None, 1])
def test_engines_pass_the_check(digits):
    report = engine_parity.compare_engines(*synthetic_coco(40, 4, 6, 40, seed=9, digits=digits))
    assert report["ok"]
    assert report["coco"]["largest"] <= 1e-12
    assert report["tide"]["largest"] <= 1e-12
    assert (
        report["coco"]["compared"] == 12 + 10 + 4 * 14 + 4
    )  # numbers, IoUs, classes with two counts, sizes of the set
    assert report["tide"]["compared"] == 3 * (9 + 6)  # AP and eight dAP, six counts, of three pairs
    assert report["equal_overlaps"] == 0
    assert all("agree" in line for line in report["lines"])
    assert set(report["native"]) == {*tide.MAIN, *tide.SPECIAL}
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("detections", [[], coco_results([(1, 1, (0, 0, 9, 9), 0.5)])])
def test_check_works_without_detections_or_ground_truth(detections):
    assert engine_parity.compare_engines(truth([(1, 1, (0, 0, 9, 9))]), detections)["ok"]
    assert engine_parity.compare_engines(truth([]), detections)["ok"]


def test_a_difference_is_found_and_named(monkeypatch):
    data = prepare(*synthetic_coco(10, 3, 5, 20, seed=1))
    honest = engine_parity.tide.evaluate

    def bent(*args, **options):
        result = honest(*args, **options)
        if result["engine"]["name"] == "tidecv":
            result["dAP"]["Loc"] += 0.0006
        return result

    monkeypatch.setattr(engine_parity.tide, "evaluate", bent)
    report = engine_parity.compare_engines(data)
    assert not report["ok"]
    assert report["coco"]["ok"]
    assert report["tide"]["beyond"] == 2
    assert report["tide"]["largest"] == pytest.approx(0.0006)
    assert "DISAGREE in 2 places" in report["lines"][1]
    assert "dAP/Loc" in report["lines"][1]


def test_the_rule_for_equal_overlaps_is_no_disagreement():
    """A detection just between two objects of the same size: COCO finds the lower one, tidecv the upper one.

    A second, less certain, overlaps the upper one poorly: a Loc error that wins it back under COCO's rule alone.
    """
    upper, lower, between, poor = (0, 0, 20, 20), (0, 4, 20, 20), (0, 2, 20, 20), (0, -11, 20, 20)
    objects, detections = [(1, 1, upper), (1, 1, lower)], [(1, 1, between, 0.9), (1, 1, poor, 0.8)]
    data = prepare(truth(objects), coco_results(detections))
    report = engine_parity.compare_engines(data)
    assert (report["ok"], report["equal_overlaps"], report["repeated"]) == (True, 1, [])
    assert report["tide"]["compared"] == 2 * (9 + 6)
    # By hand: one of two objects is found, 51 of 101 recall points. COCO: fixing Loc finds the other one as well.
    ours, theirs = tide.evaluate(data), report["native"]
    assert ours["AP"] == pytest.approx(51 / 101)
    assert (ours["dAP"]["Loc"], ours["dAP"]["Miss"]) == (pytest.approx(50 / 101), 0)
    assert (theirs["Loc"], theirs["Miss"]) == (0, pytest.approx(50 / 101))
    assert report["lines"][-1].startswith("1 detection overlaps two objects equally")
    assert "moves dAP by up to 0.5" in report["lines"][-1]


@settings(max_examples=60)
@given(small_sets())
def test_engines_agree_where_many_overlaps_are_equal(sets):
    report = engine_parity.compare_engines(*sets)
    assert report["ok"], report["lines"]


def test_repeated_boxes_are_named_beside_the_rule():
    targets, detections = synthetic_coco(20, 3, 5, 20, seed=0)
    assert engine_parity.compare_engines(targets, detections)["repeated"] == []
    doubled = copy.deepcopy(targets)
    doubled["annotations"] += [dict(box, id=1000 + box["id"]) for box in targets["annotations"][::3]]
    report = engine_parity.compare_engines(doubled, detections)
    assert report["ok"]
    assert report["equal_overlaps"] > 0
    objects = [box for box in targets["annotations"][::3] if not box["iscrowd"]]
    assert report["repeated"] == [1000 + box["id"] for box in objects]
    number = len(report["repeated"])
    assert f"{number} objects have the class, image and box of another (annotation ids" in report["lines"][-1]
    one = next(box for box in targets["annotations"] if not box["iscrowd"])
    once = {**targets, "annotations": [*targets["annotations"], dict(one, id=9_999)]}
    assert engine_parity.repeated_boxes(prepare(once, detections)).tolist() == [len(targets["annotations"])]
    crowd = {**targets, "annotations": [*targets["annotations"], dict(one, id=9_999, iscrowd=1)]}
    assert not len(engine_parity.repeated_boxes(prepare(crowd, detections)))
    assert not len(engine_parity.repeated_boxes(prepare(truth([]), [])))
