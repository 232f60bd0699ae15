"""The check finds agreement where there is some, and a difference where one is put in."""

from __future__ import annotations

import copy
import json

import pytest

from c2d.metrics import engine_parity, tide
from c2d.metrics.coco_data import prepare
from tests.analysis.toy_scenes import coco_results, synthetic_coco, truth


@pytest.mark.parametrize("digits", [None, 1])
def test_engines_pass_the_check(digits):
    report = engine_parity.compare_engines(*synthetic_coco(40, 4, 6, 40, seed=9, digits=digits))
    assert report["ok"]
    assert report["coco"]["largest"] <= 1e-12
    assert report["tide"]["largest"] <= 1e-12
    assert (
        report["coco"]["compared"] == 12 + 10 + 4 * 14 + 4
    )  # numbers, IoUs, classes with two counts, sizes of the set
    assert report["tide"]["compared"] == 3 * 9 + 6
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


def test_repeated_boxes_are_named_as_the_cause():
    targets, detections = synthetic_coco(20, 3, 5, 20, seed=0)
    assert engine_parity.compare_engines(targets, detections)["repeated"] == []
    doubled = copy.deepcopy(targets)
    doubled["annotations"] += [dict(box, id=1000 + box["id"]) for box in targets["annotations"][::3]]
    report = engine_parity.compare_engines(doubled, detections)
    assert (report["ok"], report["coco"]["ok"]) == (False, True)
    objects = [box for box in targets["annotations"][::3] if not box["iscrowd"]]
    assert report["repeated"] == [1000 + box["id"] for box in objects]
    number = len(report["repeated"])
    assert f"{number} objects have the class, image and box of another (annotation ids" in report["lines"][0]
    one = next(box for box in targets["annotations"] if not box["iscrowd"])
    once = {**targets, "annotations": [*targets["annotations"], dict(one, id=9_999)]}
    assert engine_parity.repeated_boxes(prepare(once, detections)).tolist() == [len(targets["annotations"])]
    crowd = {**targets, "annotations": [*targets["annotations"], dict(one, id=9_999, iscrowd=1)]}
    assert not len(engine_parity.repeated_boxes(prepare(crowd, detections)))
    assert not len(engine_parity.repeated_boxes(prepare(truth([]), [])))
