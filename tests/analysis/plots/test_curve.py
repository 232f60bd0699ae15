from __future__ import annotations

import json

import pytest

from analysis.loading.load import read_study
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError
from tests.analysis.plots.figures import HOSTILE, all_text, drawn, overlaps, study_of, texts

AXES = {"lambda": ["10", "0.1", "1e-3"]}


def value(labels, seed):
    return 0.3 + 0.01 * float(labels["lambda"]) + 0.001 * seed


def test_points_by_rising_number(tmp_path):
    data, figure = drawn(study_of(tmp_path, AXES, value=value), tmp_path, kind="curve", x="lambda")
    means = data[data["point"] == "mean"]
    assert list(means["x"]) == [0.001, 0.1, 10.0]
    assert list(means["label"]) == ["1e-3", "0.1", "10"]
    assert list(means["value"]) == pytest.approx([30.101, 30.2, 40.1])
    assert (data["point"] == "seed").sum() == 9
    assert all(runs.count("-s") == 3 for runs in means["runs"])
    assert figure.axes[0].get_xscale() == "log"  # four decades
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1e-3", "0.1", "10"]


@pytest.mark.parametrize(
    ("labels", "scale"),
    [(["1", "2", "100"], "linear"), (["1", "2", "101"], "log"), (["0", "0.001", "1"], "symlog"),
     (["-1", "0.001", "1"], "linear"), (["0", "1"], "linear"), (["5"], "linear")],
)  # fmt: skip
def test_the_scale_of_x(tmp_path, labels, scale):
    study = study_of(tmp_path, {"lambda": labels}, seeds=1)
    _, figure = drawn(study, tmp_path, kind="curve", x="lambda")
    assert figure.axes[0].get_xscale() == scale
    low, high = figure.axes[0].get_xlim()
    assert low < min(map(float, labels)) <= max(map(float, labels)) < high


def flat_study(tmp_path):
    """A baseline that is the same run at every lambda, as in a sweep whose baseline ignores it."""
    runs = tmp_path / "runs"
    ap = {"baseline": 0.3, "c2d": 0.35}
    axes = {"method": list(ap), "lambda": ["0.1", "1", "10"]}
    record = make_store(runs, axes, value=lambda labels, seed: ap[labels["method"]] + 0.01 * seed)
    first: dict[int, str] = {}
    for cell in record["cells"]:
        if cell["labels"]["method"] == "baseline":
            cell["run"] = first.setdefault(cell["seed"], cell["run"])
    write_json(runs / "sweeps" / "made.json", record)
    return read_study(runs, ["made"], cache=tmp_path / "cache")


@pytest.mark.parametrize("where", [{}, {"method": ["c2d"]}])
def test_a_baseline_that_ignores_x_is_a_horizontal_line(tmp_path, where):
    data, figure = drawn(flat_study(tmp_path), tmp_path, kind="curve", x="lambda", baseline={"method": "baseline"},
                         where=where)  # fmt: skip
    flat = data[data["point"] == "flat"]
    assert list(flat["row"]) == ["baseline"]
    assert flat["value"].iloc[0] == pytest.approx(31.0)
    assert flat["baseline"].iloc[0]
    assert data[data["point"] == "mean"]["row"].unique().tolist() == ["c2d"]
    assert "horizontal: baseline" in all_text(figure)


def test_a_baseline_on_the_axis_itself(tmp_path):
    study = study_of(tmp_path, {"lambda": ["0", "1"]}, value=value)
    data, figure = drawn(study, tmp_path, kind="curve", x="lambda", baseline={"lambda": "0"})
    assert list(data[data["point"] == "flat"]["row"]) == ["lambda=0"]
    assert len(data[data["point"] == "mean"]) == 2
    assert "lambda=0" in texts(figure)
    with pytest.raises(InputError, match="unknown label"):
        drawn(study, tmp_path, kind="curve", x="lambda", baseline={"lambda": "7"})


def test_holes_break_the_line_and_are_named(tmp_path):
    states = {("0.1", 2): "failed", ("10", 0): "new", ("10", 1): "new", ("10", 2): "new"}
    study = study_of(tmp_path, AXES, value=value,
                     state=lambda labels, seed: states.get((labels["lambda"], seed), "done"))  # fmt: skip
    data, figure = drawn(study, tmp_path, kind="curve", x="lambda")
    assert list(data[data["point"] == "mean"]["n"]) == [3, 2, 0]
    assert "lambda=0.1 2/3" in all_text(figure)
    assert "Not drawn, no finished run: lambda=10 (3 new)." in all_text(figure)


def test_labels_must_be_numbers(tmp_path):
    study = study_of(tmp_path, {"net": ["resnet18", "resnet50"]})
    with pytest.raises(InputError, match="'resnet18', which is no number"):
        drawn(study, tmp_path, kind="curve", x="net")
    study = study_of(tmp_path / "b", {"net": ["1", json.dumps({"a": 1}), "nan"]})
    with pytest.raises(InputError, match="which is no number"):
        drawn(study, tmp_path, kind="curve", x="net")


def test_twelve_hostile_series(tmp_path):
    study = study_of(tmp_path, {"method": HOSTILE, "T": ["1", "1.01", "1.02", "100"]}, seeds=2)
    _, figure = drawn(study, tmp_path, kind="curve", x="T", series=["method"])
    assert overlaps(figure) == []  # labels of ticks that would touch are left out
    assert "icod $\\alpha_1$" in texts(figure)
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks[0] == "1"
    assert ticks[-1] == "100"
    assert "" in ticks


def test_nothing_finished_gives_a_message(tmp_path):
    study = study_of(tmp_path, {"method": ["a", "b"], **AXES}, state=lambda labels, seed: "failed")
    _, figure = drawn(study, tmp_path, kind="curve", x="lambda", series=["method"])
    assert all_text(figure) == "No finished runs: 18 failed."
