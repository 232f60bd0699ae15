from __future__ import annotations

import pytest

from analysis.loading.columns import IOUS
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
    assert "band: 95 % t interval of the mean over seeds, n = 3 seeds" in all_text(figure)


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
    assert "bar: 95 % t interval of the mean over seeds, n = 3 seeds" in all_text(figure)


def test_nothing_finished_gives_a_message(tmp_path):
    study = study_of(tmp_path, {"method": ["a", "b"]}, state=lambda labels, seed: "waiting")
    _, figure = drawn(study, tmp_path, kind="iou")
    assert all_text(figure) == "No finished runs: 6 waiting."


def test_differences_are_paired_by_seed(tmp_path):
    """AP of method b is 0.02 + 0.01 x seed above that of a at IoU 0.50, times 1.4 as in all made-up runs."""
    study = study_of(
        tmp_path,
        {"method": ["a", "b"]},
        value=lambda labels, seed: 0.3 + 0.05 * seed + (0.02 + 0.01 * seed) * (labels["method"] == "b"),
    )
    data, figure = drawn(study, tmp_path, kind="iou", baseline={"method": "a"})
    gains = data[data["form"] == "difference"]
    assert list(gains["row"]) == ["b"] * 10
    first = gains.iloc[0]
    assert first["value"] == pytest.approx(1.4 * 3.0)
    half = 4.302653 * 1.4 * 1.0 / 3**0.5  # t quantile of 2 degrees of freedom, sd of 2, 3 and 4 points
    assert (first["low"], first["high"]) == (
        pytest.approx(1.4 * 3.0 - half, abs=1e-3),
        pytest.approx(1.4 * 3.0 + half, abs=1e-3),
    )
    left, right = figure.axes
    assert right.lines[0].get_ydata() == pytest.approx(gains["value"].to_numpy())
    assert right.get_ylabel() == "ΔAP (points)"
    assert len(left.lines) == 2
    assert "Right: mean difference to the baseline over common seeds; band" in all_text(figure)


def test_a_row_without_a_common_seed_has_no_difference(tmp_path):
    study = study_of(
        tmp_path,
        {"method": ["a", "b"]},
        seeds=2,
        state=lambda labels, seed: "done" if (labels["method"] == "a") == (seed == 0) else "failed",
    )
    data, _ = drawn(study, tmp_path, kind="iou", baseline={"method": "a"})
    gains = data[data["form"] == "difference"]
    assert gains["value"].isna().all()
    assert set(gains["interval"]) == {"none: no common seed"}
