"""Verdicts of single boxes: scenes by hand, tidecv's own lists of errors, and the same verdicts at every score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from c2d.metrics.box_verdicts import OBJECT_VERDICTS, VERDICTS, judge_boxes, object_verdicts
from c2d.metrics.coco_data import prepare
from c2d.metrics.engine_reference import TideRun
from c2d.metrics.matching import MAX_DETECTIONS
from c2d.metrics.tide import BACKGROUND
from c2d.metrics.tide_errors import MAIN, TideErrors
from tests.analysis.toy_scenes import coco_results, small_sets, synthetic_coco, truth

A1, A2, B = (0, 0, 40, 40), (100, 0, 40, 40), (0, 100, 40, 40)


def judged(boxes, detections, **options):
    data = prepare(truth(boxes), coco_results(detections))
    found = judge_boxes(data, **options)
    return (
        [VERDICTS[kind] for kind in found.verdict],
        found.gt.tolist(),
        found.iou.tolist(),
        [OBJECT_VERDICTS[kind] for kind in found.gt_verdict],
        found.gt_dt.tolist(),
    )


def test_one_scene_with_every_verdict():
    boxes = [(1, 1, A1), (1, 1, A2), (1, 2, B), (1, 2, (300, 300, 40, 40)), (1, 1, (500, 0, 99, 99), True)]
    detections = [
        (1, 1, (0, 0, 40, 20), 0.95),  # half of A1: correct
        (1, 1, A1, 0.9),  # A1 again
        (1, 1, (120, 0, 40, 40), 0.8),  # a third of A2
        (1, 2, A2, 0.7),  # the wrong class on A2
        (1, 1, (20, 100, 40, 40), 0.6),  # class a, a third of B
        (1, 2, (0, 102, 40, 40), 0.5),  # B
        (1, 2, (600, 600, 9, 9), 0.4),  # nothing there
        (1, 1, (510, 10, 20, 20), 0.3),  # inside the crowd region
    ]
    verdict, gt, iou, objects, by = judged(boxes, detections)
    assert verdict == ["correct", "Dupe", "Loc", "Cls", "Both", "correct", "Bkg", "ignored"]
    assert gt == [0, 0, 1, 1, 2, 2, -1, -1]
    assert iou == pytest.approx([1 / 2, 1, 1 / 3, 1, 1 / 3, 38 / 42, 0, 0])
    assert objects == ["found", "Loc", "found", "Miss", "crowd"]
    assert by == [0, 2, 5, -1, -1]


def test_a_score_leaves_out_lower_detections():
    boxes, detections = [(1, 1, A1)], [(1, 1, A1, 0.4), (1, 2, A1, 0.6)]
    assert judged(boxes, detections)[3:] == (["found"], [0])
    assert judged(boxes, detections, min_score=0.5)[0] == ["ignored", "Cls"]
    assert judged(boxes, detections, min_score=0.5)[3:] == (["Cls"], [1])
    assert judged(boxes, detections, min_score=0.7)[3:] == (["Miss"], [-1])


def test_the_second_best_object_has_its_own_overlap():
    # Both objects overlap the second detection; the better one is taken.
    boxes = [(1, 1, (0, 0, 40, 40)), (1, 1, (10, 0, 40, 40))]
    _, gt, iou, _, _ = judged(boxes, [(1, 1, (0, 0, 40, 40), 0.9), (1, 1, (4, 0, 40, 40), 0.8)])
    assert gt == [0, 1]
    assert iou == pytest.approx([1, 34 / 46])


def test_detections_beyond_the_limit_are_ignored():
    detections = [(1, 1, (300, 300, 9, 9), 0.9)] * MAX_DETECTIONS + [(1, 1, A1, 0.1)]
    verdict, _, _, objects, _ = judged([(1, 1, A1)], detections)
    assert (verdict[-1], objects) == ("ignored", ["Miss"])


def test_nothing_at_all():
    assert judged([], []) == ([], [], [], [], [])


def counts(data, found):
    """Errors per class and TIDE type, counted from single verdicts."""
    table = np.zeros((len(data.class_ids), len(MAIN)), int)
    for cls, kind in zip(data.dt_class, found.verdict, strict=True):
        if VERDICTS[kind] in MAIN:
            table[cls, kind] += 1
    for cls, kind in zip(data.gt_class, found.gt_verdict, strict=True):
        table[cls, -1] += OBJECT_VERDICTS[kind] == "Miss"
    return table.tolist()


@settings(max_examples=60)
@given(small_sets())
def test_counts_are_those_of_tide(sets):
    data = prepare(*sets)
    assert counts(data, judge_boxes(data)) == TideErrors(data, 0.5, BACKGROUND).counts().tolist()


@settings(max_examples=60)
@given(small_sets())
def test_a_lower_detection_changes_no_verdict(sets):
    data = prepare(*sets)
    whole = judge_boxes(data)
    for score in (0.25, 0.75):
        kept = np.flatnonzero(data.dt_score >= score)
        alone = judge_boxes(data.subset(np.arange(len(data.gt_class)), kept))
        assert whole.verdict[kept].tolist() == alone.verdict.tolist()
        assert whole.gt[kept].tolist() == alone.gt.tolist()
        low = np.where(data.dt_score >= score, whole.verdict, VERDICTS.index("ignored"))
        assert object_verdicts(data, low, whole.gt)[0].tolist() == alone.gt_verdict.tolist()
        assert judge_boxes(data, min_score=score).gt_verdict.tolist() == alone.gt_verdict.tolist()


@settings(max_examples=25)
@given(small_sets(distinct=True))
def test_each_box_has_the_verdict_that_tidecv_gives_it(sets):
    pytest.importorskip("tidecv")
    _same_as_tidecv(prepare(*sets))


def test_a_larger_set_has_the_verdicts_of_tidecv():
    pytest.importorskip("tidecv")
    _same_as_tidecv(prepare(*synthetic_coco(30, 5, 6, 40)))


def _same_as_tidecv(data):
    """Box by box: type and object of each error, and the missed objects."""
    found, run = judge_boxes(data), TideRun(data, 0.5, BACKGROUND)
    if run.run is None:
        assert set(found.verdict.tolist()) <= {VERDICTS.index("Bkg"), VERDICTS.index("ignored")}
        return
    theirs, missed = {}, []
    for kind, errors in run.run.error_dict.items():
        for error in errors:
            if kind.short_name == "Miss":
                missed.append(tuple(error.gt["bbox"]))
            else:
                aim = getattr(error, "gt", None)
                theirs[int(run.dt_rows[error.pred["_id"]])] = (kind.short_name, aim and tuple(aim["bbox"]))
    ours = {
        row: (VERDICTS[kind], tuple(data.gt_box[found.gt[row]].tolist()) if VERDICTS[kind] in ("Cls", "Loc") else None)
        for row, kind in enumerate(found.verdict)
        if VERDICTS[kind] in MAIN
    }
    assert ours == {row: (kind, aim if kind in ("Cls", "Loc") else None) for row, (kind, aim) in theirs.items()}
    rows = np.flatnonzero(found.gt_verdict == OBJECT_VERDICTS.index("Miss"))
    assert sorted(map(tuple, data.gt_box[rows].tolist())) == sorted(missed)
