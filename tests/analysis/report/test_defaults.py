"""Default tables and figures of a sweep, by its axes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.report import defaults
from analysis.report.report_spec import read_spec
from analysis.spec.table_spec import TableSpec
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import make_store

METHODS = {"method": ["baseline", "kd_cls", "c2d"]}
ALWAYS = {"seeds", "tide", "tide_curves", "iou", "per_class", "training", "detections",
          "precision_recall", "f1_threshold", "confusion", "reliability"}  # fmt: skip


def figures_of(items: list[defaults.Item]) -> list[Any]:
    """The figures among the items; their specs differ by kind, so their fields are not checked statically."""
    return [item for item in items if not isinstance(item, TableSpec)]


def study_of(tmp_path: Path, axes: dict[str, list[str]], name: str = "made") -> Study:
    make_store(tmp_path / "runs", axes, seeds=2, name=name)
    return read_study(tmp_path / "runs", (), tmp_path / "cache")


def test_one_axis_gives_three_tables_and_every_figure_once(tmp_path: Path) -> None:
    found = defaults.default_items(study_of(tmp_path, METHODS), "made")
    assert Counter(item.kind for item in found) == Counter(["table"] * 3 + sorted(ALWAYS))
    assert [item.name for item in found[:3]] == ["made", "made-errors", "made-cost"]
    assert all(item.baseline == {"method": "baseline"} for item in figures_of(found))
    assert len({item.name for item in found}) == len(found)


def test_the_baseline_is_what_has_no_method_whatever_it_is_called(tmp_path: Path) -> None:
    study = study_of(tmp_path, {"student": ["a", "b"], "method": ["baseline", "c2d"]})
    frame = study.frame.copy()
    frame["axis.method"] = frame["axis.method"].replace("baseline", "plain student")
    study.sweeps["made"]["axes"]["method"][0] = "plain student"
    renamed = Study(study.runs, frame, study.sweeps)
    axes = defaults.sweep_axes(renamed, "made")
    assert axes == {"student": ["a", "b"], "method": ["plain student", "c2d"]}
    assert defaults.default_baseline(renamed, "made", axes) == {"method": "plain student"}


def test_the_method_axis_tells_the_baseline_even_where_another_could(tmp_path: Path) -> None:
    """Only the big student was trained without a method: small minus big is not what anybody asked."""
    record = make_store(tmp_path / "runs", {"model": ["big", "small"], "method": ["baseline", "kd"]}, seeds=1)
    cells = [cell for cell in record["cells"] if cell["labels"] != {"model": "small", "method": "baseline"}]
    cells = [cell for cell in cells if cell["labels"] != {"model": "big", "method": "kd"}]
    write_json(tmp_path / "runs" / "sweeps" / "made.json", {**record, "cells": cells})
    study = read_study(tmp_path / "runs", ("made",), tmp_path / "cache")
    assert defaults.default_baseline(study, "made", defaults.sweep_axes(study, "made")) == {"method": "baseline"}


def test_a_baseline_stays_one_while_its_seeds_come_in(tmp_path: Path) -> None:
    make_store(tmp_path / "runs", METHODS, state=lambda labels, seed: "new" if seed else "done")
    study = read_study(tmp_path / "runs", ("made",), tmp_path / "cache")
    assert defaults.default_baseline(study, "made", defaults.sweep_axes(study, "made")) == {"method": "baseline"}


def test_runs_that_nobody_asked_for_together_have_no_baseline(tmp_path: Path) -> None:
    study = study_of(tmp_path, {"method": ["baseline"]})
    assert defaults.default_baseline(study, "", {"question": ["a", "b"]}) == {}


def test_a_numeric_axis_gets_a_curve_and_two_of_them_a_map(tmp_path: Path) -> None:
    axes = {**METHODS, "method.icod.T": ["1", "2", "3"], "method.icod.lambda_kc": ["0.1", "0.4"]}
    axes["method"] = ["baseline", "kd_cls"]
    found = defaults.default_items(study_of(tmp_path, axes), "made")
    (curve,) = [item for item in figures_of(found) if item.kind == "curve"]
    assert (curve.x, curve.series) == ("method.icod.T", ["method", "method.icod.lambda_kc"])
    (heat,) = [item for item in figures_of(found) if item.kind == "heatmap"]
    assert {heat.x, heat.y} == {"method.icod.T", "method.icod.lambda_kc"}
    assert heat.where == {"method": ["kd_cls"]}


def test_many_cells_are_shown_student_by_student(tmp_path: Path) -> None:
    axes = {"model": ["ssd/300", "ssd 512"], "method": ["baseline", "a", "b", "c", "d"]}
    found = defaults.default_items(study_of(tmp_path, axes), "made")
    seeds = [item for item in figures_of(found) if item.kind == "seeds"]
    assert [item.name for item in seeds] == ["made-ssd_300-seeds", "made-ssd_512-seeds"]
    assert [(item.where, item.series) for item in seeds] == [
        ({"model": ["ssd/300"]}, ["method"]),
        ({"model": ["ssd 512"]}, ["method"]),
    ]
    assert seeds[0].title.endswith("(model ssd/300)")


def test_too_many_combinations_get_tables_alone(tmp_path: Path) -> None:
    axes = {"model": [f"m{k}" for k in range(7)], "method": ["baseline", "a"]}
    found = defaults.default_items(study_of(tmp_path, axes), "made")
    assert [item.kind for item in found] == ["table"] * 3


def test_a_sweep_with_a_shipped_report_gets_that(tmp_path: Path) -> None:
    axes = {"method": ["baseline", "loc+kd_loc"], "method.icod.pooling": ["2", "4", "8", "16"]}
    found = defaults.default_items(study_of(tmp_path, axes, "icod-pooling"), "icod-pooling")
    assert [item.name for item in found if isinstance(item, TableSpec)] == ["icod-table4b"]


def test_runs_of_no_sweep_are_told_apart_by_student_and_method_or_by_their_question(tmp_path: Path) -> None:
    study = study_of(tmp_path, {"method": ["baseline", "a"]})
    (tmp_path / "runs" / "sweeps" / "made.json").unlink()
    single = read_study(tmp_path / "runs", (), tmp_path / "cache")
    assert defaults.sweep_axes(single, "") == {"student": ["tiny"], "method": ["baseline", "icod"]}
    found = defaults.default_items(single, "")
    assert isinstance(found[0], TableSpec)
    assert found[0].rows == {"student": ["tiny"], "method": ["baseline", "icod"]}  # not the classifier
    assert {tuple(item.where) for item in found[3:]} == {("student", "method")}
    make_store(tmp_path / "runs", {"method": ["b"]}, seeds=1)  # icod again, under another question
    (tmp_path / "runs" / "sweeps" / "made.json").unlink()
    single = read_study(tmp_path / "runs", (), tmp_path / "cache")
    axes = defaults.sweep_axes(single, "")
    assert list(axes) == ["question"]
    assert len(axes["question"]) == 3
    assert {run.rpartition("-s")[0] for run in study.frame["run"] if "student" in run} < set(axes["question"])


def test_no_cells_no_items(tmp_path: Path) -> None:
    study = study_of(tmp_path, METHODS)
    assert defaults.default_items(study, "") == []


@pytest.mark.parametrize("path", sorted(defaults.SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_report_is_readable_and_names_its_sweep(path: Path) -> None:
    spec = read_spec(path)
    assert spec.name == path.stem
    assert spec.sweep
    assert spec.title
