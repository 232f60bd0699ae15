"""Runs that make images are rows with their own numbers, and students carry what their images were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.tables.protocol_facts import teachers
from benchmarks.suite.synthetic_run import write_json
from tests.analysis.data_free_store import DETECTOR, made_run, make_data_free_store


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    make_data_free_store(tmp_path / "runs")
    return tmp_path / "runs"


def _read(runs: Path) -> Study:
    return read_study(runs, (), runs.parent / "cache")


def _row(study: Study, run: str) -> Any:
    return study.frame[study.frame["run"] == run].iloc[0]


def test_a_run_of_impressions_is_a_teacher_with_its_numbers(runs: Path) -> None:
    study = _read(runs)
    assert study.problems == []
    row = _row(study, made_run("impressions"))
    assert (row["role"], row["state"], row["kind"], row["method"]) == ("teacher", "done", "impressions", "impressions")
    assert (row["images"], row["boxes"], row["redetected"]) == (500, 1500, 0.934)
    assert (row["images_per_minute"], row["peak_mib"], row["train_s"]) == (25.0, 900.0, 1200.0)
    values = json.loads((runs / made_run("impressions") / "spec.json").read_text())["schedule"]["values"]
    iterations = values["draft"]["iterations"] + values["final"]["iterations"]
    assert (row["iterations_planned"], row["lr"]) == (iterations, values["final"]["lr"])
    assert (row["batch"], row["schedule"]) == (values["batch"], "moi")
    assert (row["teacher.detector"], row["teacher_AP"], row["student"], row["network"]) == (DETECTOR, 0.31, "", "")
    assert np.isnan(row["AP"])
    assert np.isnan(_row(study, made_run("unlabelled"))["redetected"])


def test_a_student_carries_what_it_was_trained_on(runs: Path) -> None:
    frame = _read(runs).frame
    students = frame[(frame["role"] == "student") & (frame["seed"] == 0) & (frame["axis.capacity"] == "half")]
    found = {
        (row["axis.images"], row["axis.method"]): (row["data_free"], row["training_images.images_from"])
        for row in students.to_dict("records")
    }
    assert found == {
        ("noise", "baseline"): ("yes", "noise"),
        ("procedural", "baseline"): ("yes", "procedural"),
        ("impressions", "baseline"): ("yes", "optimised"),
        ("impressions", "soft_labels"): ("yes", "optimised"),
        ("unlabelled", "baseline"): ("", "real"),
        ("real", "baseline"): ("", ""),
    }
    row = students[students["axis.images"] == "impressions"].iloc[0]
    assert (row["training_images.run"], row["training_images.teacher"]) == (made_run("impressions"), DETECTOR)
    assert (row["training_images.n_images"], row["teacher_redetected"], row["images"]) == (500, 0.934, 6)
    assert teachers(row.to_dict()) == f"{made_run('impressions')} (targets found again 93.4 %)"


def test_without_a_sweep_it_is_a_row_named_by_its_preset(runs: Path) -> None:
    (runs / "sweeps" / "made-moi.json").unlink()
    row = _row(_read(runs), made_run("noise"))
    assert (row["role"], row["axis.student"], row["axis.method"]) == ("single", "moi", "impressions")


def _edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    write_json(path, value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("result.json", lambda v: v.update(redetected=93.4), "redetected is 93.4, outside 0 to 1"),
        ("result.json", lambda v: v.update(images=-1), "images is -1, outside 0"),
        ("result.json", lambda v: v.update(seconds={"train": 1}), "seconds is an object where a number belongs"),
        (
            "result.json",
            lambda v: v.update(kind="classifier", top1=0.5, seconds={}),
            "is of kind classifier, spec.json of kind imp",
        ),
        ("spec.json", lambda v: v["schedule"]["values"].pop("final"), "schedule.values.final is missing"),
        ("spec.json", lambda v: v.update(data_free="no"), "data_free is neither true nor false"),
        ("spec.json", lambda v: v.update(kind="pictures"), "none of detector, classifier, impressions"),
    ],
)
def test_damage_is_named(runs: Path, name: str, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    _edit(runs / made_run("impressions") / name, change)
    study = _read(runs)
    assert _row(study, made_run("impressions"))["state"] == "damaged"
    assert any(message in problem.message for problem in study.problems), study.problems
