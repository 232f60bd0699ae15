"""COCO numbers: by paper and pencil, on awkward input, and two engines equal to the last digit."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings

from c2d.core.errors import InputError
from c2d.metrics import coco
from c2d.metrics.coco_data import prepare
from tests.analysis.toy_scenes import coco_results, small_sets, synthetic_coco, truth

A1, A2, B = (0, 0, 40, 40), (100, 0, 40, 40), (0, 100, 40, 40)
ENGINES = coco.ENGINES


def _gap(a: Any, b: Any) -> float:
    if isinstance(a, dict):
        assert set(a) == set(b)
        return max((_gap(a[key], b[key]) for key in a if key != "engine"), default=0.0)
    if a is None or b is None:
        return 0.0 if a is b else float("inf")
    return abs(a - b)


@pytest.mark.parametrize("engine", ENGINES)
def test_two_boxes_computed_by_hand(engine):
    # First a box on nothing (0.9), then one of the two objects with IoU 3/4 (0.8): precision 1/2 up to recall 1/2, that
    # is at 51 of 101 recall points, at the thresholds .50 to .75 (6 of 10).
    targets = truth([(1, 1, A1), (1, 1, A2)])
    result = coco.evaluate(
        targets, coco_results([(1, 1, (300, 300, 40, 40), 0.9), (1, 1, (0, 0, 40, 30), 0.8)]), engine
    )
    assert result["AP50"] == pytest.approx(51 / 101 / 2)
    assert result["AP75"] == pytest.approx(51 / 101 / 2)
    assert result["AP"] == pytest.approx(0.6 * 51 / 101 / 2)
    assert result["AP_per_iou"]["0.75"] == pytest.approx(51 / 101 / 2)
    assert result["AP_per_iou"]["0.80"] == 0
    assert result["AR1"] == 0  # one detection a class and image: the one on nothing
    assert result["AR10"] == result["AR100"] == pytest.approx(0.6 / 2)
    assert result["APm"] == pytest.approx(result["AP"])  # 40 x 40 px are medium
    assert result["APs"] is result["APl"] is result["ARs"] is None
    assert result["per_class"]["a"]["AP"] == result["AP"]
    assert result["per_class"]["b"]["AP"] is None
    assert (result["images"], result["boxes"], result["crowds"], result["detections"]) == (1, 2, 0, 2)
    assert (result["per_class"]["a"]["boxes"], result["per_class"]["a"]["detections"]) == (2, 2)
    assert list(result["AP_per_iou"]) == [
        "0.50",
        "0.55",
        "0.60",
        "0.65",
        "0.70",
        "0.75",
        "0.80",
        "0.85",
        "0.90",
        "0.95",
    ]
    assert result["engine"]["name"] == {"fast": "hotcoco", "reference": "pycocotools"}[engine]


@pytest.mark.parametrize("engine", ENGINES)
def test_zero_detections_are_zero_and_no_ground_truth_is_undefined(engine):
    nothing_found = coco.evaluate(truth([(1, 1, A1)]), [], engine)
    assert nothing_found["AP"] == nothing_found["AR100"] == nothing_found["AP_per_iou"]["0.50"] == 0
    assert nothing_found["APs"] is None
    for targets in (truth([]), truth([(1, 1, A1, True)]), {"images": [], "annotations": [], "categories": []}):
        result = coco.evaluate(targets, coco_results([(1, 1, A1, 0.9)]) if targets["images"] else [], engine)
        assert {result[number] for number in coco.NUMBERS} == set(result["AP_per_iou"].values()) == {None}
        json.dumps([nothing_found, result], allow_nan=False)


@pytest.mark.parametrize("engine", ENGINES)
def test_crowd_regions_forgive_and_do_not_count(engine):
    targets = truth([(1, 1, A1), (1, 1, (200, 0, 100, 100), True)])
    inside = (1, 1, (210, 10, 30, 30), 0.95)
    assert coco.evaluate(targets, coco_results([inside, (1, 1, A1, 0.9)]), engine)["AP"] == pytest.approx(1)
    outside = (1, 1, (210, 210, 30, 30), 0.95)
    assert coco.evaluate(targets, coco_results([outside, (1, 1, A1, 0.9)]), engine)["AP"] == pytest.approx(0.5)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_annotation_whose_id_is_zero_can_be_found(engine):
    targets = truth([(1, 1, A1)])
    assert targets["annotations"][0]["id"] == 0  # pycocotools itself would count this one as unmatched
    assert coco.evaluate(targets, coco_results([(1, 1, A1, 0.9)]), engine)["AP"] == pytest.approx(1)


@given(small_sets())
@settings(max_examples=60, deadline=None)
def test_engines_are_equal_on_ties_crowds_empty_images_and_odd_ids(case):
    data = prepare(*case)
    assert _gap(coco.evaluate(data, None, "fast"), coco.evaluate(data, None, "reference")) <= 1e-12


@pytest.mark.parametrize("digits", [None, 2])
def test_engines_are_equal_on_a_middling_set(digits):
    data = prepare(*synthetic_coco(80, 5, 8, 120, seed=3, digits=digits))
    fast = coco.evaluate(data, None, "fast")
    assert 0.05 < fast["AP"] < 0.5
    assert None not in {fast[number] for number in coco.NUMBERS}
    assert _gap(fast, coco.evaluate(data, None, "reference")) <= 1e-12


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_printed_and_the_input_is_unchanged(engine, capfd):
    targets, detections = truth([(1, 1, A1)]), coco_results([(1, 1, A1, 0.9)])
    before = json.dumps([targets, detections])
    coco.evaluate(targets, detections, engine)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert json.dumps([targets, detections]) == before


def test_unknown_engine_gets_a_suggestion():
    with pytest.raises(InputError, match=r"unknown engine 'refrence'.*did you mean 'reference'"):
        coco.evaluate(truth([]), [], "refrence")


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("torch", "mmdet", "mmengine", "pandas", "matplotlib", "tidecv", "pycocotools", "cv2")
    code = (
        "import sys, c2d.metrics.coco, c2d.metrics.tide, c2d.metrics.classification, c2d.metrics.engine_parity\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_class_name_can_be_any_text_of_json():
    targets = truth([(1, 1, (0, 0, 9, 9))])
    targets["categories"][0]["name"] = "\udcff"
    assert coco.evaluate(targets, coco_results([(1, 1, (0, 0, 9, 9), 0.5)]))["per_class"]["\udcff"][
        "AP"
    ] == pytest.approx(1)
