from __future__ import annotations

import pytest

from analysis.loading.load import read_study
from c2d.core.errors import InputError
from tests.analysis.plots.figures import HOSTILE, add_latency, all_text, drawn, overlaps, study_of, texts

AP = {"slow": 0.36, "good": 0.34, "beaten": 0.33, "fast": 0.30}
MS = {"slow": 12.0, "good": 8.0, "beaten": 9.0, "fast": 5.0}


def measured(tmp_path, ms=MS, seeds=3):
    study = study_of(tmp_path, {"method": list(AP)}, seeds=seeds,
                     value=lambda labels, seed: AP[labels["method"]] + 0.001 * seed)  # fmt: skip
    frame = study.frame
    rows = frame[frame["seed"] == 0]
    add_latency(study.runs, {run: ms[method] for run, method in zip(rows["run"], rows["axis.method"], strict=True)
                             if method in ms})  # fmt: skip
    return read_study(study.runs, ["made"], cache=tmp_path / "cache")


def test_the_front_is_what_nothing_beats(tmp_path):
    data, figure = drawn(measured(tmp_path), tmp_path, kind="pareto")
    rows = data.set_index("row")
    assert rows["front"].to_dict() == {"slow": True, "good": True, "beaten": False, "fast": True}
    assert rows["x"].to_dict() == pytest.approx(MS)
    assert rows.loc["good", "value"] == pytest.approx(34.1)
    # three launches 0.1 ms apart: sd 0.1, so 4.302653 x 0.1 / sqrt(3)
    assert rows.loc["good", "x_high"] - 8 == pytest.approx(0.4302653 / 3**0.5, abs=1e-5)
    assert rows.loc["good", "low"] < 34.1 < rows.loc["good", "high"]
    assert rows.loc["good", "x_n"] == 1
    assert rows.loc["good", "x_runs"].endswith("-s0")
    assert rows.loc["good", "runs"].count("-s") == 3
    words = all_text(figure)
    assert "95 % t interval of the mean over seeds" in words
    assert "t over launches" in words
    assert "made-up GPU (precision: fp32, batch: 1)" in words
    assert {"slow", "good", "beaten", "fast"} <= set(texts(figure))


def test_equal_rows_are_both_on_the_front(tmp_path):
    study = study_of(tmp_path, {"method": ["a", "b", "c"]},
                     value=lambda labels, seed: {"a": 0.3, "b": 0.3, "c": 0.2}[labels["method"]])  # fmt: skip
    data, _ = drawn(study, tmp_path, kind="pareto", x="params")
    assert list(data["front"]) == [True, True, False]
    assert list(data["x"]) == pytest.approx([1.3] * 3)


def test_lower_can_be_better(tmp_path):
    study = study_of(tmp_path, {"method": ["a", "b"]},
                     value=lambda labels, seed: {"a": 0.3, "b": 0.2}[labels["method"]] + 0.01 * seed)  # fmt: skip
    data, _ = drawn(study, tmp_path, kind="pareto", x="params", y="tide.Cls")  # falls with AP
    assert list(data["front"]) == [True, False]


def test_an_unmeasured_row_is_named(tmp_path):
    data, figure = drawn(measured(tmp_path, {"slow": 12.0, "good": 8.0}), tmp_path, kind="pareto")
    assert list(data["x_note"]) == ["", "", "no latency file", "no latency file"]
    assert "Not drawn, no latency p50: beaten (no latency file), fast (no latency file)." in all_text(figure)


def test_without_any_latency_it_says_what_to_do(tmp_path):
    study = study_of(tmp_path, {"method": ["a"]})
    _, figure = drawn(study, tmp_path, kind="pareto")
    assert "No latency p50 to draw (no latency file). A run is measured when it has a file in latency/" in all_text(
        figure
    )


def test_two_devices_are_not_compared(tmp_path):
    study = measured(tmp_path)
    run = study.frame["run"].iloc[0]
    add_latency(study.runs, {run: 3.0}, device="another GPU")
    with pytest.raises(InputError, match="another GPU"):
        drawn(study, tmp_path, kind="pareto")


def test_y_must_have_a_better_direction(tmp_path):
    with pytest.raises(InputError, match="params"):
        drawn(study_of(tmp_path, {"method": ["a"]}), tmp_path, kind="pareto", y="params", x="params")


def test_twelve_hostile_names_stand_beside_their_points(tmp_path):
    place = {name: index for index, name in enumerate(HOSTILE)}
    study = study_of(tmp_path, {"method": HOSTILE},
                     value=lambda labels, seed: 0.2 + 0.01 * place[labels["method"]] + 0.001 * seed)  # fmt: skip
    students = study.frame[study.frame["role"] == "student"]
    pairs = zip(students["run"], students["axis.method"], strict=True)
    add_latency(study.runs, {run: 5 + 3 * place[method] % 11 for run, method in pairs})
    _, figure = drawn(
        read_study(study.runs, ["made"], cache=tmp_path / "cache"), tmp_path, kind="pareto", x="latency_p90"
    )
    assert overlaps(figure) == []
    assert not figure.legends
    assert "icod $\\alpha_1$" in texts(figure)


def test_crowded_points_get_a_legend(tmp_path):
    names = [*HOSTILE, *(f"method number {index}" for index in range(12))]
    study = study_of(tmp_path, {"method": names}, value=lambda labels, seed: 0.3 + 0.001 * seed)
    _, figure = drawn(study, tmp_path, kind="pareto", x="params")
    assert figure.legends
    assert overlaps(figure) == []
    assert "_hidden" in texts(figure)


def test_nothing_finished_gives_a_message(tmp_path):
    study = study_of(tmp_path, {"method": ["a"]}, state=lambda labels, seed: "failed")
    _, figure = drawn(study, tmp_path, kind="pareto")
    assert all_text(figure) == "No finished runs: 3 failed."
