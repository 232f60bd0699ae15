"""AP by size and by class, and TIDE, of resampled images: equal to the engines, and to images repeated literally."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.metrics import coco, tide
from c2d.metrics.coco_data import prepare
from c2d.metrics.matching import compute_overlaps, match
from c2d.metrics.resampling.resampled_ap import Curves, draws
from c2d.metrics.resampling.resampled_tide import TideCurves
from tests.analysis.toy_scenes import coco_results, repeated, small_sets, synthetic_coco, truth, untied

AREAS = {"small": "APs", "medium": "APm", "large": "APl"}


def same(value: float, expected: float | None, tolerance: float = 1e-12) -> None:
    assert np.isnan(value) if expected is None else value == pytest.approx(expected, abs=tolerance)


@given(small_sets())
@settings(max_examples=25, deadline=None)
def test_every_size_is_pycocotools_number_on_ties_crowds_and_borders(case):
    data = prepare(*case)
    expected = coco.evaluate(data, None, "reference")
    once = np.ones((len(data.image_ids), 1), np.int32)
    for area, key in AREAS.items():
        curves = Curves(data, area=area)
        same(curves.ap(once)[0], expected[key])
        for value, name in zip(curves.per_class(once).mean(axis=0)[:, 0], data.class_names, strict=True):
            same(value, expected["per_class"][name][key])


@given(small_sets(), st.lists(st.integers(0, 3), min_size=4, max_size=4).filter(any))
@settings(max_examples=20, deadline=None)
def test_sizes_and_tide_of_a_resample_are_those_of_images_repeated(case, counts):
    data = prepare(*case)
    weights = np.array(counts, np.int32)[:, None]
    literal = repeated(untied(data), counts)
    expected = coco.evaluate(literal)
    for area, key in AREAS.items():
        same(Curves(data, area=area).ap(weights)[0], expected[key], 1e-9)
    gains = tide.evaluate(literal, engine="own", per_class=False, per_size=False)["dAP"]
    for error, values in TideCurves(untied(data)).gains(weights).items():
        same(values[0], gains[error], 1e-9)


def test_a_middling_set_in_all_numbers():
    data = prepare(*synthetic_coco(40, 4, 8, 40, seed=2))
    for i, column in enumerate(next(draws(40, 3, seed=1)).T):
        literal, weights = repeated(data, column), column[:, None]
        expected = coco.evaluate(literal)
        assert min(expected[key] for key in AREAS.values()) > 0.001, i
        for area, key in AREAS.items():
            same(Curves(data, area=area).ap(weights)[0], expected[key], 1e-9)
        per_class = Curves(data).per_class(weights).mean(axis=0)[:, 0]
        assert per_class.tolist() == pytest.approx([one["AP"] for one in expected["per_class"].values()], abs=1e-9)
        gains = {error: values[0] for error, values in TideCurves(data).gains(weights).items()}
        assert gains == pytest.approx(tide.evaluate(literal, engine="own")["dAP"], abs=1e-9)
        assert gains["Cls"] > 0.01


def test_by_paper_and_pencil_a_detection_takes_an_ignored_object_only_for_want_of_another():
    # Two equal boxes in one place; the annotated area makes the second one large. Both detections fit both.
    box = (0, 0, 40, 40)
    targets: dict[str, Any] = truth([(1, 1, box), (1, 1, box)])
    targets["annotations"][1]["area"] = 10_000.0
    data = prepare(targets, coco_results([(1, 1, box, 0.9), (1, 1, box, 0.8)]))
    found = compute_overlaps(data)
    assert match(data, found, 0.5).tolist() == [1, 0]  # of equal ones the last
    assert match(data, found, 0.5, np.array([False, True])).tolist() == [0, 1]
    assert match(data, found, 0.5, np.array([True, False])).tolist() == [1, 0]
    once = np.ones((1, 1), np.int32)
    assert [Curves(data, area=area).ap(once)[0] for area in ("medium", "large")] == [1.0, 1.0]
    assert np.isnan(Curves(data, area="small").ap(once)[0])


def test_images_with_errors_by_paper_and_pencil():
    # Image 1: found, and found again. Image 2: missed, a box on nothing. Image 3: a box of the other class. 4: nothing.
    box, free = (0, 0, 40, 40), (100, 100, 40, 40)
    targets = truth([(1, 1, box), (2, 1, box), (3, 1, box)], images=4)
    found = [(1, 1, box, 0.9), (1, 1, box, 0.8), (2, 1, free, 0.7), (3, 2, box, 0.6)]
    images = TideCurves(prepare(targets, coco_results(found))).error_images
    assert {name: np.flatnonzero(rows).tolist() for name, rows in images.items()} == {
        "Cls": [2], "Loc": [], "Both": [], "Dupe": [0], "Bkg": [1], "Miss": [1], "FalsePos": [0, 1, 2],
        "FalseNeg": [1, 2],
    }  # fmt: skip
