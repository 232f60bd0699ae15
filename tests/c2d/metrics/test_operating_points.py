"""Curves at operating points, the confusion matrix and calibration: by hand, and beside pycocotools and hotcoco."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from c2d.core.errors import InputError
from c2d.metrics import coco, engine_hotcoco, engine_reference
from c2d.metrics.coco_data import CocoData, prepare
from c2d.metrics.confusion_matrix import confusion_matrix
from c2d.metrics.detection_calibration import calibration
from c2d.metrics.operating_points import counts_at, f1, interpolated_precision, macro_f1, micro_f1, scored_matches
from tests.analysis.toy_detectors import two_detectors
from tests.analysis.toy_scenes import coco_results, small_sets, truth

A, B = 1, 2
BOX, FAR, NEAR = [0, 0, 10, 10], [50, 50, 10, 10], [1, 0, 10, 10]


def by_hand() -> CocoData:
    """Two objects of a, one of b; four detections: b's object called a, one of a found twice, one on background."""
    targets = truth([(1, A, BOX), (1, B, FAR), (2, A, BOX)], images=2)
    return prepare(
        targets, coco_results([(1, A, BOX, 0.9), (1, A, FAR, 0.8), (1, A, NEAR, 0.4), (1, B, [90, 0, 5, 5], 0.3)])
    )


def test_counts_and_f1_by_hand():
    found = scored_matches(by_hand(), 0.5)
    assert found.correct.tolist() == [True, False, False, False]
    assert found.iou[0] == 1.0
    true, detections = counts_at(found, np.array([0.0, 0.4, 0.85, 0.95]))
    assert true.tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]
    assert detections.tolist() == [[3, 3, 1, 0], [1, 0, 0, 0]]
    assert f1(true, detections, found.objects[:, None])[0].tolist() == [2 / 5, 2 / 5, 2 / 3, 0]
    assert micro_f1(true, detections, found.objects).tolist() == [2 / 7, 2 / 6, 2 / 4, 0]
    assert macro_f1(true, detections, found.objects).tolist() == [1 / 5, 1 / 5, 1 / 3, 0]
    curve = interpolated_precision(found)
    assert curve[0].tolist() == [1.0] * 51 + [0.0] * 50  # recall 0.5 is the last point reached
    assert curve[1].tolist() == [0.0] * 101


def test_the_confusion_matrix_by_hand():
    data = by_hand()
    assert confusion_matrix(data, 0.5, 0.25).tolist() == [[1, 0, 1], [1, 0, 0], [1, 1, 0]]
    assert confusion_matrix(data, 0.5, 0.85).tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]
    with pytest.raises(InputError, match="0 < iou <= 1"):
        confusion_matrix(data, 0.0, 0.25)


def test_crowd_regions_are_no_objects_and_excuse_their_own_class():
    targets = truth([(1, A, FAR, True)])
    data = prepare(targets, coco_results([(1, A, FAR, 0.9), (1, B, FAR, 0.9)]))
    assert confusion_matrix(data, 0.5, 0.25).tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert scored_matches(data, 0.5).cls.tolist() == [1]


def test_nothing_at_all():
    data = prepare(truth([]), [])
    assert confusion_matrix(data, 0.5, 0.25).tolist() == [[0] * 3] * 3
    found = scored_matches(data, 0.5)
    assert np.isnan(interpolated_precision(found)).all()
    true, detections = counts_at(found)
    assert np.isnan(macro_f1(true, detections, found.objects)).all()
    assert np.isnan(micro_f1(true, detections, found.objects)).all()
    assert calibration(found)["d_ece"] is None


@settings(max_examples=30, deadline=None)
@given(small_sets())
def test_the_curves_are_those_of_pycocotools_and_integrate_to_ap(made):
    data = prepare(*made)
    if not data.objects_per_class.any():
        return
    tables, _ = engine_reference.precision_recall(data)
    scored = coco.evaluate(data)
    for at, iou in ((0, 0.5), (5, 0.75)):
        curve = interpolated_precision(scored_matches(data, iou))
        theirs = tables[at, :, :, 0, -1].T
        np.testing.assert_allclose(np.nan_to_num(curve, nan=-1.0), theirs, atol=1e-12)
        assert np.nanmean(curve) == pytest.approx(scored["AP_per_iou"][f"{iou:.2f}"], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(small_sets(distinct=True))
def test_the_confusion_matrix_is_hotcocos_without_crowd_regions(made):
    """With equal scores of two classes the order is a convention, so every score is made different."""
    targets, detections = made
    targets["annotations"] = [{**one, "iscrowd": 0} for one in targets["annotations"]]
    detections = [{**one, "score": one["score"] - 0.001 * k} for k, one in enumerate(detections)]
    data = prepare(targets, detections)
    if not data.objects_per_class.any() or not detections:
        return
    theirs = engine_hotcoco.evaluator(data).confusion_matrix(iou_thr=0.5, max_det=100, min_score=0.25)["matrix"]
    assert confusion_matrix(data, 0.5, 0.25).tolist() == np.asarray(theirs).tolist()


def _scored(data: CocoData) -> CocoData:
    return data.with_detections(data.dt_image, data.dt_class, data.dt_box, 1 / (1 + np.exp(-data.dt_score)))


def test_calibration_is_hotcocos():
    data = _scored(two_detectors(np.random.default_rng(3), 60)[0])
    mine = calibration(scored_matches(data, 0.5))
    run = engine_hotcoco.evaluator(data)
    run.evaluate()
    theirs = run.calibration(n_bins=20, iou_threshold=0.5)
    assert mine["n"] == theirs["num_detections"]
    assert mine["d_ece"] == pytest.approx(theirs["ece"], abs=1e-12)
    for one, other in zip(mine["bins"], theirs["bins"], strict=True):
        assert one["n"] == other["count"]
        if one["n"]:
            assert one["precision"] == pytest.approx(other["avg_accuracy"])
            assert one["score"] == pytest.approx(other["avg_confidence"])


def test_calibration_by_hand():
    """Scores 0.9 (right, IoU 1), 0.8 and 0.4 (wrong) of a, 0.3 (wrong) of b."""
    found = calibration(scored_matches(by_hand(), 0.5))
    assert found["d_ece"] == pytest.approx((0.1 + 0.8 + 0.4 + 0.3) / 4)
    assert found["la_ece"] == pytest.approx(((0.1 + 0.8 + 0.4) / 3 + 0.3) / 2)
    full = {round(one["low"], 2): one["n"] for one in found["bins"] if one["n"]}
    assert full == {0.85: 1, 0.75: 1, 0.35: 1, 0.25: 1}
    assert calibration(scored_matches(by_hand(), 0.5), 0.5)["n"] == 2
