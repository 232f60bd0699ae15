"""Curves and classes from run folders: what runs recorded, what is computed once, and what is named and skipped."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.loading import tide_cache
from analysis.loading.columns import COCO, TIDE
from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.loading.tide_cache import per_class, tide_over_iou
from benchmarks.suite import synthetic_run, synthetic_store
from c2d.metrics import tide

FIXTURE = Path(__file__).parents[2] / "fixtures" / "runs"


def _age(folder: Path) -> None:
    """Make every file ten minutes older: one that has just been written may change again unseen and is not cached."""
    for path in folder.rglob("*"):
        state = path.stat()
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns - 600 * 10**9))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    synthetic_store.make_store(runs, {"method": ["baseline", "c2d"]}, seeds=2, with_detections=True)
    _age(runs)
    return runs


def _study(runs: Path, tmp_path: Path) -> tuple[Study, list[str]]:
    study = read_study(runs, cache=tmp_path / "cache")
    return study, list(study.frame.loc[study.frame["role"] == "student", "run"])


def _no_cache(*_: Any, **__: Any) -> None:
    raise AssertionError("computed once more")


def test_recorded_curves_are_those_of_the_detections(tmp_path):
    study = read_study(FIXTURE, cache=tmp_path)
    runs = list(study.frame.loc[(study.frame["state"] == "done") & (study.frame["kind"] == "detector"), "run"])
    assert len(runs) == 7
    recorded, problems = tide_over_iou(study, runs)
    assert not problems
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tide_cache, "RECORDED_VERSION", "of another version")
        computed, problems = tide_over_iou(study, runs, tmp_path)
    assert not problems
    assert computed.equals(recorded)


def test_the_frame_of_curves(tmp_path, store):
    study, runs = _study(store, tmp_path)
    found, problems = tide_over_iou(study, [*runs, runs[0]], tmp_path / "cache")
    assert not problems
    assert list(found.columns) == ["run", "iou", "error", "dAP", "count"]
    assert len(found) == 4 * 10 * 8
    one = found[found["run"] == runs[1]]
    assert one["iou"].unique().tolist() == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert one["error"].tolist() == list(TIDE) * 10
    by_hand = tide.evaluate(
        synthetic_run.targets(),
        json.loads(gzip.decompress((store / runs[1] / "detections.json.gz").read_bytes())),
        "own",
        iou=0.75,
        per_class=False,
    )
    at_75 = one[one["iou"] == 0.75].set_index("error")
    assert at_75["dAP"].to_dict() == by_hand["dAP"]
    assert {error: at_75["count"][error] for error in tide.MAIN} == by_hand["counts"]
    assert math.isnan(at_75["count"]["FalsePos"])


def test_computed_once_until_a_file_or_the_definition_changes(tmp_path, store, monkeypatch):
    study, runs = _study(store, tmp_path)
    first, _ = tide_over_iou(study, runs, tmp_path / "cache")
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    with monkeypatch.context() as patch:
        patch.setattr(tide, "evaluate", _no_cache)
        again, problems = tide_over_iou(study, runs, tmp_path / "cache")
        assert not problems
        assert again.equals(first)
        with pytest.raises(AssertionError, match="once more"):
            tide_over_iou(study, runs, tmp_path / "elsewhere")
        with monkeypatch.context() as other:
            other.setattr(tide, "VERSION", "2")
            with pytest.raises(AssertionError, match="once more"):
                tide_over_iou(study, runs, tmp_path / "cache")
        for name, of in ((runs[3], runs[3:]), ("targets", runs[:1])):
            assert len(tide_over_iou(study, of, tmp_path / "cache")[0]) == 80
            (path,) = (store / name).glob("*.json.gz")
            os.utime(path, ns=(before[path], before[path] - 10**9))
            with pytest.raises(AssertionError, match="once more"):
                tide_over_iou(study, of, tmp_path / "cache")
            os.utime(path, ns=(before[path], before[path]))
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before  # nothing is written into the store


def test_a_cache_in_the_store_is_not_used(tmp_path, store):
    study, runs = _study(store, tmp_path)
    before = sorted(store.rglob("*"))
    found, problems = tide_over_iou(study, runs, store / "cache")
    assert (len(found), problems) == (320, [])
    assert sorted(store.rglob("*")) == before


def test_a_damaged_cache_is_as_good_as_none(tmp_path, store):
    study, runs = _study(store, tmp_path)
    first, _ = tide_over_iou(study, runs, tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "derived").iterdir()
    kept.write_bytes(kept.read_bytes()[:-30])
    assert tide_over_iou(study, runs, tmp_path / "cache")[0].equals(first)


def _change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "file", "words"),
    [
        ("no detections", "detections.json.gz", "is missing, so its TIDE curves cannot be computed"),
        ("cut", "detections.json.gz", "is not a complete gzip file"),
        ("no list", "detections.json.gz", "detections are {}, not a list"),
        ("other images", "detections.json.gz", "detections name image_id 77, which the ground truth does not have"),
        ("other count", "detections.json.gz", "and the ground truth have 29 detections, result.json has 30"),
        ("other digest", "f.json.gz", "is missing: the ground truth of"),
        ("hostile digest", "spec.json", "names the data set '../targets/x', which is no digest"),
        ("targets damaged", "targets", "is not valid JSON"),
        ("no result", "result.json", "is missing"),
        ("damaged record", "result.json", "cannot be used: tide.per_iou.0.50.dAP.Cls is 'x' where a number belongs"),
        ("failed", "", "is failed, not done, so it has no numbers"),
    ],
)
def test_a_run_that_cannot_give_curves_is_named_and_the_others_stay(tmp_path, store, damage, file, words):
    study, runs = _study(store, tmp_path)
    run = store / runs[1]
    boxes = json.loads(gzip.decompress((run / "detections.json.gz").read_bytes()))
    if damage == "no detections":
        (run / "detections.json.gz").unlink()
    elif damage == "cut":
        (run / "detections.json.gz").write_bytes((run / "detections.json.gz").read_bytes()[:-9])
    elif damage == "no list":
        synthetic_run.write_json_gz(run / "detections.json.gz", {})
    elif damage == "other images":
        synthetic_run.write_json_gz(run / "detections.json.gz", [*boxes[1:], {**boxes[0], "image_id": 77}])
    elif damage == "other count":
        synthetic_run.write_json_gz(run / "detections.json.gz", boxes[1:])
    elif damage == "other digest":
        study.frame.loc[study.frame["run"] == runs[1], "dataset_digest"] = "f"
    elif damage == "hostile digest":
        study.frame.loc[study.frame["run"] == runs[1], "dataset_digest"] = "../targets/x"
    elif damage == "targets damaged":
        study.frame.loc[study.frame["run"] == runs[1], "dataset_digest"] = "targets"
        (store / "targets" / "targets.json.gz").write_bytes(gzip.compress(b"{"))
    elif damage == "no result":
        (run / "result.json").unlink()
    elif damage == "damaged record":
        errors = {"dAP": {"Cls": "x"}, "counts": {}}
        _change(run / "result.json", tide={"per_iou": {f"{iou:.2f}": errors for iou in tide_cache.IOUS}})
    else:
        study.frame.loc[study.frame["run"] == runs[1], "state"] = "failed"
    found, problems = tide_over_iou(study, runs, tmp_path / "cache")
    assert set(found["run"]) == {runs[0], *runs[2:]}
    (problem,) = problems
    assert file in problem.path.name
    assert words in problem.message
    assert str(tmp_path) not in problem.message


def test_strangers_and_classifiers_are_named(tmp_path, store):
    study, _ = _study(store, tmp_path)
    teacher = study.frame.loc[study.frame["kind"] == "classifier", "run"].iloc[0]
    functions: list[Any] = [tide_over_iou, per_class]
    for of, column in zip(functions, ("iou", "class"), strict=True):
        found, problems = of(study, [teacher, "nobody"])
        assert found.empty
        assert list(found.columns[:2]) == ["run", column]
        assert [problem.message for problem in problems] == [
            "is a classifier, not a detector; it has no boxes to score",
            "is no run of this study",
        ]


def test_classes_one_by_one(tmp_path, store):
    study, runs = _study(store, tmp_path)
    _change(store / runs[2] / "result.json", per_class={"cat": {"AP": None}})
    whole = json.loads((store / runs[3] / "result.json").read_text())
    whole["per_class"]["t_rex"]["APl"] = None
    (store / runs[3] / "result.json").write_text(json.dumps(whole))
    found, problems = per_class(study, runs)
    assert list(found.columns) == ["run", "class", *COCO, "boxes", "detections"]
    assert found["class"].tolist() == list(synthetic_run.CLASSES) * 3
    assert found["boxes"].tolist() == [10, 11, 12] * 3
    last = found.iloc[-1]
    assert last["AP"] == whole["per_class"]["t_rex"]["AP"]
    assert math.isnan(last["APl"])
    assert [(one.path.parent.name, one.message) for one in problems] == [
        (runs[2], "cannot be used: AP50 is missing")
    ]  # fmt: skip


def test_importing_is_light():
    heavy = "('numpy', 'pandas', 'msgspec')"
    code = f"import sys, analysis.loading.tide_cache; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
