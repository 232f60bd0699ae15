"""Training curves: the moving average, the terms, the ratio, seeds of different length."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.loading.load import read_study
from analysis.plots import training, training_curves
from analysis.plots.figure_files import read_csv
from analysis.plots.figure_parts import figure_parts
from analysis.report.report_spec import parse
from benchmarks.suite.synthetic_store import make_store
from tests.analysis.plots.figures import save

SPEC = parse({"kind": "training", "points": 10})


def test_moving_average_by_hand():
    at = np.array([1.0, 2, 3, 4, 5])
    values = np.array([1.0, 3, np.nan, 5, 7])
    assert training.moving_average(at, values, 1).tolist()[:2] == [1, 3]
    assert np.isnan(training.moving_average(at, values, 1)[2])
    assert training.moving_average(at, values, 2).tolist() == [2, 2, 4, 6, 6]  # one iteration to each side


def test_kinds_of_terms():
    columns = ["iteration", "loss", "loss_cls", "loss_bbox", "loss_kd_icod_cls", "kd_icod_cls_raw", "total_loss_x"]
    assert training.split_losses(columns) == (["loss_cls", "loss_bbox"], ["loss_kd_icod_cls"])


def test_curves_ratio_and_validation_of_the_made_store(tmp_path: Path):
    make_store(tmp_path, {"method": ["baseline", "c2d"]}, value=lambda labels, seed: 0.3 + 0.1 * seed)
    data = training.data(read_study(tmp_path), SPEC, "made")
    # make_store: losses 1/i each, KD 0.5, 20 iterations: a window of one.
    ratio = data[(data["row"] == "c2d") & (data["part"] == "ratio")]
    assert ratio["value"].to_numpy() == pytest.approx(0.25 * ratio["iteration"].to_numpy())
    assert len(ratio) == 10
    assert ratio["iteration"].iloc[[0, -1]].tolist() == [1, 20]
    assert data[data["row"] == "baseline"]["part"].unique().tolist() == ["row", "total", "task", "validation"]
    validation = data[(data["row"] == "c2d") & (data["part"] == "validation")].iloc[0]
    assert (validation["low"], validation["value"], validation["high"]) == pytest.approx((15, 20, 25))
    heads = data[data["part"] == "row"]
    assert [len(runs.split()) for runs in heads["runs"]] == [3, 3]


def test_rows_without_a_finished_run_show_what_has_begun(tmp_path: Path):
    make_store(tmp_path, {"method": ["baseline", "c2d"]},
               state=lambda labels, seed: "done" if labels["method"] == "baseline" else "failed")  # fmt: skip
    data = training.data(read_study(tmp_path), SPEC, "made")
    assert (data[data["row"] == "c2d"]["part"] == "total").any()
    assert "no run is finished" in " ".join(text.get_text() for text in training.draw(data, SPEC).texts)


def test_losses_that_are_not_finite_leave_a_gap_and_draw(tmp_path: Path):
    record = make_store(tmp_path, {"method": ["c2d"]}, seeds=1)
    path = tmp_path / record["cells"][0]["run"] / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[12:]:
        if "loss" in line:
            line["loss"] = float("nan")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "half a li")
    data = training.data(read_study(tmp_path), SPEC, "made")
    assert data[data["part"] == "total"]["value"].isna().any()
    figure = training.draw(data, SPEC)
    assert "1 damaged line" in " ".join(text.get_text() for text in figure.texts)


def test_the_figure_is_drawn_again_from_its_csv(tmp_path: Path):
    names = ["baseline", "_x_$", "0.10"]
    make_store(tmp_path / "runs", {"method": names}, state=lambda labels, seed: "done" if seed < 2 else "failed")
    data = training.data(read_study(tmp_path / "runs"), SPEC, "made")
    first = save(training.draw(data, SPEC), data, tmp_path / "first")
    again = read_csv(first[2])
    second = save(training.draw(again, SPEC), again, tmp_path / "second")
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)] == [True] * 3


def test_no_metrics_gives_a_message(tmp_path: Path):
    make_store(tmp_path, {"method": ["baseline"]}, state=lambda labels, seed: "new")
    figure = training.draw(training.data(read_study(tmp_path), SPEC, "made"), SPEC)
    assert "3 new" in figure.axes[0].texts[0].get_text()


def test_scales():
    assert training_curves.axis_scale([1.0, 2.0]).log is False
    assert training_curves.axis_scale([0.01, 2.0]).log is True
    assert training_curves.axis_scale([0.0, 2.0]).log is False
    assert training_curves.axis_scale([]).high == 1.0


def test_many_rows_are_a_page_and_not_a_wall(tmp_path: Path):
    make_store(tmp_path / "runs", {"method": [f"m{k:02}" for k in range(20)]}, seeds=1)
    found = training.data(read_study(tmp_path / "runs", (), tmp_path / "cache"), SPEC, "made")
    assert found["row"].nunique() == 20
    parts = figure_parts(found, training.limits(found, SPEC))
    assert [part["row"].nunique() for part in parts] == [5, 5, 5, 5]
    heights = [training.draw(part, SPEC).get_size_inches()[1] for part in parts[:1]]
    assert max(heights) <= 9
