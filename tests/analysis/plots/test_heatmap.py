from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from analysis.loading.columns import quantity
from analysis.plots import cell_colors
from c2d.core.errors import InputError
from tests.analysis.plots.figures import HOSTILE, all_text, drawn, overlaps, study_of, texts

AXES = {"method": ["baseline", "c2d"], "T": ["1", "2", "10"]}


def value(labels, seed):
    return 0.3 + 0.01 * int(labels["T"]) * (labels["method"] == "c2d") + 0.002 * seed * int(labels["T"])


def test_the_mean_of_each_cell_in_the_sweeps_order(tmp_path):
    data, figure = drawn(study_of(tmp_path, AXES, value=value), tmp_path, kind="heatmap", x="T", y="method")
    assert list(zip(data["y"], data["x"], strict=True)) == [(m, t) for m in AXES["method"] for t in AXES["T"]]
    cell = data[(data["y"] == "c2d") & (data["x"] == "10")].iloc[0]
    assert cell["value"] == pytest.approx(42.0)
    assert cell["n"] == 3
    assert cell["runs"].count("-s") == 3
    assert "42.0" in texts(figure)
    assert "Mean over seeds." in all_text(figure)


def test_differences_are_paired_by_seed(tmp_path):
    states = {("c2d", "2", 0): "failed"}
    study = study_of(tmp_path, AXES, value=value,
                     state=lambda labels, seed: states.get((labels["method"], labels["T"], seed), "done"))  # fmt: skip
    data, figure = drawn(study, tmp_path, kind="heatmap", x="T", y="method", baseline={"method": "baseline"})
    rows = data.set_index(["y", "x"])
    assert list(rows.loc["c2d", "value"]) == pytest.approx([1.0, 2.0, 10.0])  # also where a seed is missing
    assert list(rows.loc["c2d", "n"]) == [3, 2, 3]
    assert rows.loc[("c2d", "2"), "against_mean"] == pytest.approx(30 + 0.2 * 2 * 1.5)
    assert rows.loc[("c2d", "2"), "against_runs"].count("-s") == 2
    assert list(rows.loc["baseline", "baseline"]) == [True] * 3
    assert {"+10.0", "+2.0", "2/3"} <= set(texts(figure))
    assert "Italic: the baseline itself." in all_text(figure)


def test_the_baseline_may_stand_outside_the_figure(tmp_path):
    study = study_of(tmp_path, AXES, value=value)
    data, _ = drawn(study, tmp_path, kind="heatmap", x="T", y="method", baseline={"method": "baseline"},
                    where={"method": ["c2d"]})  # fmt: skip
    assert list(data["value"]) == pytest.approx([1.0, 2.0, 10.0])
    with pytest.raises(InputError, match="did you mean 'baseline'"):
        drawn(study, tmp_path, kind="heatmap", x="T", y="method", baseline={"method": "base line"})


def test_a_baseline_of_a_third_axis(tmp_path):
    study = study_of(tmp_path, {**AXES, "lambda": ["0.1"]}, value=value)
    data, _ = drawn(study, tmp_path, kind="heatmap", x="T", y="lambda", baseline={"method": "baseline"},
                    where={"method": ["c2d"]})  # fmt: skip
    assert list(data["value"]) == pytest.approx([1.0, 2.0, 10.0])


def test_holes_are_hatched_and_counted(tmp_path):
    study = study_of(tmp_path, AXES, state=lambda labels, seed: "new" if labels["T"] == "2" else "done")
    data, figure = drawn(study, tmp_path, kind="heatmap", x="T", y="method")
    assert list(data["n"]) == [3, 0, 3, 3, 0, 3]
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert len(hatched) == 2
    assert texts(figure).count("0/3") == 2
    assert "Hatched: no value." in all_text(figure)


def test_numbers_are_readable_on_every_colour():
    for share in np.linspace(0, 1, 101):
        for values in ([0.0, 1.0],):
            colors = cell_colors.color_scale(np.array(values), quantity("AP"), difference=False)
            face = colors.to_rgba(share)
            assert contrast(face, cell_colors.readable_color(face)) >= 4.5


def contrast(one, other):
    def light(color):
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    dark, bright = sorted([light(one), light(other)])
    return (bright + 0.05) / (dark + 0.05)


def test_better_is_always_the_same_colour():
    higher = cell_colors.color_scale(np.array([-1.0, 2.0]), quantity("AP"), difference=True)
    lower = cell_colors.color_scale(np.array([-1.0, 2.0]), quantity("tide.Cls"), difference=True)
    assert higher.to_rgba(1.0) == pytest.approx(lower.to_rgba(-1.0), abs=0.02)
    assert higher.norm.vmin == -2


def test_many_cells_with_hostile_names(tmp_path):
    axes = {"method": HOSTILE, "T": [str(i) for i in range(9)]}
    study = study_of(tmp_path, axes, seeds=1)
    for x, y in (("method", "T"), ("T", "method")):
        _, figure = drawn(study, tmp_path, kind="heatmap", x=x, y=y)
        found = [pair for pair in overlaps(figure) if not (set(pair) & tilted(figure))]
        assert found == []


def tilted(figure):
    """Boxes of tilted texts overlap where the texts do not."""
    return {label.get_text() for label in figure.axes[0].get_xticklabels() if label.get_rotation()}


def test_bad_questions_are_refused(tmp_path):
    study = study_of(tmp_path, AXES)
    with pytest.raises(InputError, match="two axes"):
        drawn(study, tmp_path, kind="heatmap", x="T", y="T")
    with pytest.raises(InputError, match="unknown axis"):
        drawn(study, tmp_path, kind="heatmap", x="T", y="methods")


def test_nothing_finished_gives_a_message(tmp_path):
    study = study_of(tmp_path, AXES, state=lambda labels, seed: "failed")
    _, figure = drawn(study, tmp_path, kind="heatmap", x="T", y="method")
    assert all_text(figure) == "No finished runs: 18 failed."
