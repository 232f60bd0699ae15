from __future__ import annotations

import pytest

from analysis.load.columns import IOUS
from tests.analysis.plots.figures import HOSTILE, all_text, drawn, overlaps, study_of


def test_ten_points_a_row(tmp_path):
    study = study_of(tmp_path, {"method": ["a", "b"]}, value=lambda labels, seed: 0.3 + 0.01 * seed)
    data, figure = drawn(study, tmp_path, kind="iou")
    assert list(data["row"]) == ["a"] * 10 + ["b"] * 10
    mine = data[data["row"] == "a"]
    assert list(mine["iou"]) == pytest.approx([float(iou) for iou in IOUS])
    # the made-up runs have ap x (1.4 - 0.12 k) at the k-th threshold; the mean of the seeds' AP is 0.31
    assert list(mine["value"]) == pytest.approx([31 * (1.4 - 0.12 * k) for k in range(10)])
    assert (mine["low"] < mine["value"]).all()
    assert (mine["n"] == 3).all()
    assert "bands: 95 % t interval" in all_text(figure)


def test_one_seed_has_no_interval_and_is_marked(tmp_path):
    study = study_of(tmp_path, {"method": ["a"]}, seeds=1)
    data, figure = drawn(study, tmp_path, kind="iou")
    assert data["low"].isna().all()
    assert (data["interval"] == "none: one seed").all()
    assert all_text(figure).count("a 1/1") == 1
    assert figure.axes[0].lines[0].get_markerfacecolor() == "white"


def test_twelve_hostile_rows(tmp_path):
    _, figure = drawn(study_of(tmp_path, {"method": HOSTILE}), tmp_path, kind="iou")
    assert overlaps(figure) == []
    assert "bars: 95 % t interval" in all_text(figure)


def test_nothing_finished_gives_a_message(tmp_path):
    study = study_of(tmp_path, {"method": ["a", "b"]}, state=lambda labels, seed: "waiting")
    _, figure = drawn(study, tmp_path, kind="iou")
    assert all_text(figure) == "No finished runs: 6 waiting."
