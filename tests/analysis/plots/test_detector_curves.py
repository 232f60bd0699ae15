"""Precision-recall, F1, confusion and reliability figures: their numbers, their files, and what is missing."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.plots import FIGURES, confusion_panels, detector_curves
from analysis.plots.detector_curves import DetectorCurves
from analysis.report.report_spec import parse
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError
from c2d.metrics import coco
from c2d.metrics.classification import score
from c2d.metrics.coco_data import prepare
from c2d.metrics.confusion_matrix import confusion_matrix
from c2d.metrics.detection_calibration import calibration
from c2d.metrics.operating_points import scored_matches
from tests.analysis.plots.figures import HOSTILE, all_text, drawn, overlaps

BASE = {"baseline": {"method": "baseline"}}
KINDS = ("precision_recall", "f1_threshold", "confusion", "reliability")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Baseline and c2d, two seeds, their teacher with bins; every file is old enough to be cached."""
    folder = tmp_path_factory.mktemp("curves")
    make_store(folder / "runs", {"method": ["baseline", "c2d"]}, seeds=2, with_detections=True)
    teacher = next((folder / "runs").glob("*classifier*")) / "result.json"
    logits = np.random.default_rng(0).normal(0, 2, (200, 3))
    write_json(teacher, {**json.loads(teacher.read_text()), **score(logits, logits.argmax(axis=1) % 2)})
    for path in folder.rglob("*"):
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 600 * 10**9))
    return folder / "runs"


@pytest.fixture
def study(store: Path, tmp_path: Path) -> Study:
    return read_study(store, ["made"], cache=tmp_path / "cache")


def made(study: Study, kind: str, **keys: Any) -> Any:
    spec = parse({"kind": kind, **keys})
    return FIGURES[kind].data(study, spec, "made")


def scored(store: Path, run: str) -> Any:
    truth = json.loads(gzip.decompress(next((store / "targets").iterdir()).read_bytes()))
    return prepare(truth, json.loads(gzip.decompress((store / run / "detections.json.gz").read_bytes())))


def test_precision_over_recall_integrates_to_ap(study: Study, store: Path) -> None:
    data = made(study, "precision_recall", ious=[0.5, 0.95])
    runs = str(data.loc[data["row"] == "c2d", "runs"].iloc[0]).split()
    assert len(runs) == 2
    numbers = [coco.evaluate(scored(store, run)) for run in runs]
    for iou in (0.5, 0.95):
        mine = data[(data["row"] == "c2d") & (data["iou"] == iou)]
        assert mine["recall"].tolist() == [k / 100 for k in range(101)]
        expected = np.mean([100 * one["AP_per_iou"][f"{iou:.2f}"] for one in numbers])
        assert mine["value"].mean() == pytest.approx(expected, abs=1e-10)
    of_classes = made(study, "precision_recall", panels="class", iou=0.75)
    for name in ("cat", "dog & co", "t_rex"):
        mine = of_classes[(of_classes["row"] == "c2d") & (of_classes["class"] == name)]
        expected = np.mean([100 * one["per_class"][name]["AP75"] for one in numbers])
        assert mine["value"].mean() == pytest.approx(expected, abs=1e-10)
    assert made(study, "precision_recall", panels="class", most=2)["class"].nunique() == 2


def test_the_best_threshold_is_the_top_of_the_mean_curve(study: Study, store: Path) -> None:
    data = made(study, "f1_threshold")
    for mean in ("micro", "macro"):
        curve = data[(data["part"] == "curve") & (data["mean"] == mean) & (data["row"] == "c2d")]
        (best,) = data[(data["part"] == "best") & (data["mean"] == mean) & (data["row"] == "c2d")].itertuples()
        assert best.value == curve["value"].max()
        assert best.threshold == curve.loc[curve["value"].idxmax(), "threshold"]
    at = data[(data["row"] == "c2d") & (data["mean"] == "micro") & (data["threshold"] == 0.5)]
    expected = []
    for run in at["runs"].iloc[0].split():
        table = scored(store, run)
        kept = table.subset(np.arange(len(table.gt_class)), np.flatnonzero(table.dt_score >= 0.5))
        right = sum(round(one["boxes"] * one["AR100_50"]) for one in _recalls(kept))
        expected.append(200 * right / (len(kept.dt_score) + table.sizes["boxes"]))
    assert at["value"].iloc[0] == pytest.approx(np.mean(expected))
    assert set(data.loc[data["class"] != "", "class"]) == {"cat", "dog & co", "t_rex"}


def _recalls(data: Any) -> list[dict[str, float]]:
    """Boxes and pycocotools' recall at IoU 0.5 of each class."""
    from c2d.metrics import engine_reference

    _, recall = engine_reference.precision_recall(data)
    return [
        {"boxes": float(boxes), "AR100_50": float(recall[0, k, 0, -1])}
        for k, boxes in enumerate(data.objects_per_class)
        if boxes
    ]


def test_the_confusion_matrix_is_the_mean_over_seeds_per_100_objects(study: Study, store: Path) -> None:
    data = made(study, "confusion")
    mine = data[data["row"] == "c2d"]
    runs = mine["runs"].iloc[0].split()
    tables = np.mean([confusion_matrix(scored(store, run), 0.5, 0.25) for run in runs], axis=0)
    shown = np.zeros_like(tables)
    for truth, predicted, count in mine[["truth_place", "predicted_place", "count"]].itertuples(index=False):
        shown[int(truth), int(predicted)] = count
    assert shown.tolist() == tables.tolist()
    cell = mine[(mine["truth"] == "cat") & (mine["predicted"] == "")].iloc[0]
    assert cell["value"] == pytest.approx(100 * tables[0, -1] / 10)  # ten cats
    wrong = mine[mine["truth"] == ""]
    assert wrong["objects"].unique().tolist() == [30.0]
    change = made(study, "confusion", difference=True, **BASE)
    base = np.mean([confusion_matrix(scored(store, run), 0.5, 0.25) for run in
                    data.loc[data["row"] == "baseline", "runs"].iloc[0].split()], axis=0)  # fmt: skip
    assert set(change["row"]) == {"c2d"}
    assert change["count"].sum() == pytest.approx((tables - base).sum())
    with pytest.raises(InputError, match="has no baseline"):
        made(study, "confusion", difference=True)


def test_a_class_without_a_change_counts_for_the_background(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """30 objects of three classes; the students find two more cats and have 6 more false positives of a cat."""
    before = np.array([[6, 0, 0, 4], [0, 10, 0, 0], [0, 0, 10, 0], [3, 0, 0, 0]])
    after = np.array([[8, 0, 0, 2], [0, 10, 0, 0], [0, 0, 10, 0], [9, 0, 0, 0]])
    baselines = set(study.frame.loc[study.frame["axis.method"] == "baseline", "run"])
    monkeypatch.setattr(DetectorCurves, "confusion", lambda self, run, *_: before if run in baselines else after)
    lines = made(study, "confusion", difference=True, **BASE)
    drawn_cells = confusion_panels._matrix(lines, confusion_panels._chosen(lines, 20))
    assert drawn_cells[0].tolist() == [20, 0, 0, -20]
    assert drawn_cells[1].tolist() == [0, 0, 0, 0]
    assert drawn_cells[-1, 0] == 20
    merged = confusion_panels._matrix(lines, confusion_panels._chosen(lines, 1))  # the other two classes are added up
    assert merged[:, 0].tolist() == [20, 0, 20]


def test_reliability_has_detectors_and_their_teacher(study: Study) -> None:
    data = made(study, "reliability")
    error = data[(data["part"] == "error") & (data["row"] == "c2d")].iloc[0]
    bins = data[(data["part"] == "bin") & (data["row"] == "c2d")]
    assert bins["count"].sum() == pytest.approx(error["count"])
    assert 0 < error["value"] < 100
    (teacher,) = data.loc[data["part"] == "teacher error", "method"]
    assert "classifier" in teacher
    of_teacher = data[data["part"] == "teacher bin"]
    gap = (of_teacher["value"] - 100 * of_teacher["score"]).abs() * of_teacher["count"]
    assert gap.sum() / 200 == pytest.approx(data.loc[data["part"] == "teacher error", "value"].iloc[0])
    assert made(study, "reliability", teachers=False)["row"].ne("").all()


def test_a_detector_teacher_is_drawn_as_a_detector(study: Study) -> None:
    runs = study.frame.loc[study.frame["role"] == "student", "run"].tolist()
    frame = study.frame.copy()
    frame.loc[frame["run"] == runs[-1], "teacher.detector"] = runs[0]  # as if the first run had taught the last
    data = made(Study(study.runs, frame, study.sweeps, cache=study.cache), "reliability")
    teacher = data[(data["method"] == runs[0]) & (data["part"] == "teacher error")].iloc[0]
    expected = calibration(scored_matches(scored(study.runs, runs[0]), 0.5))
    assert teacher["value"] == pytest.approx(100 * expected["d_ece"])
    assert teacher["la_ece"] == pytest.approx(100 * expected["la_ece"])
    spec = parse({"kind": "reliability"})
    assert "ECE; of detectors D-ECE" in all_text(FIGURES["reliability"].draw(data, spec))


def test_runs_are_read_once_for_all_figures(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {kind: made(study, kind) for kind in KINDS}

    def refuse(*_: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(detector_curves, "_computed", refuse)
    for kind, data in first.items():
        assert made(study, kind).equals(data)
    with pytest.raises(AssertionError, match="read again"):
        made(study, "f1_threshold", iou=0.6)


def test_a_run_without_detections_and_a_teacher_without_bins_are_named(tmp_path: Path) -> None:
    record = make_store(tmp_path / "runs", {"method": ["baseline", "c2d"]}, seeds=1, with_detections=True)
    lost = next(cell["run"] for cell in record["cells"] if cell["labels"]["method"] == "baseline")
    (tmp_path / "runs" / lost / "detections.json.gz").unlink()
    study = read_study(tmp_path / "runs", ["made"], cache=tmp_path / "cache")
    for kind in KINDS:
        spec = parse({"kind": kind})
        data = FIGURES[kind].data(study, spec, "made")
        problems = [problem.message for problem in data.attrs.pop("problems")]
        assert "is missing, so its curves cannot be computed; evaluate the run again" in problems
        assert ("has no reliability bins: bins is missing; evaluate the run again" in problems) == (
            kind == "reliability"
        )
        assert data.loc[data["row"] == "baseline", "n"].tolist()[0] == 0
        assert lost in all_text(FIGURES[kind].draw(data, spec))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("hostile")
    make_store(folder / "runs", {"method": ["baseline", *HOSTILE[3:7]]}, seeds=1, with_detections=True)
    return read_study(folder / "runs", ["made"], cache=folder / "cache")


@pytest.mark.parametrize(
    ("kind", "keys"),
    [("precision_recall", {"panels": "class"}), ("f1_threshold", {}), ("reliability", {}),
     ("confusion", {"difference": True, **BASE})],
)  # fmt: skip
def test_a_figure_is_drawn_again_from_its_csv(hostile: Study, tmp_path: Path, kind: str, keys: dict[str, Any]) -> None:
    _, figure = drawn(hostile, tmp_path, kind=kind, **keys)
    assert [pair for pair in overlaps(figure) if "edge" in pair] == []


def test_nothing_finished_gives_a_message(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", {"method": ["baseline"]}, seeds=1, state=lambda labels, seed: "new")
    study = read_study(tmp_path / "runs", ["made"], cache=tmp_path / "cache")
    for kind in KINDS:
        spec = parse({"kind": kind})
        assert "1 new" in all_text(FIGURES[kind].draw(FIGURES[kind].data(study, spec, "made"), spec))
