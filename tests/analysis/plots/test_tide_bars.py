"""TIDE bars: the numbers behind them, and the figure made again from its CSV."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from matplotlib.patches import Rectangle

from analysis.loading.load import read_study
from analysis.plots import tide_bars
from analysis.plots.figure_files import read_csv
from analysis.report.report_spec import parse
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError
from tests.analysis.plots.figures import save

SPEC = parse({"kind": "tide", "baseline": {"method": "baseline"}})


def test_a_bar_is_the_mean_of_its_seeds_in_percent(tmp_path: Path):
    make_store(tmp_path, {"method": ["baseline"]}, value=lambda labels, seed: 0.3 + 0.1 * seed)
    data = tide_bars.data(read_study(tmp_path), SPEC, "made")
    loc = data[(data["error"] == "Loc") & (data["point"] == "mean")].iloc[0]
    # make_store writes dAP of Loc as 0.27 (1 - AP): seeds 18.9, 16.2, 13.5; t interval 4.303 * 2.7 / sqrt(3).
    assert loc["value"] == pytest.approx(16.2)
    assert loc["high"] - loc["value"] == pytest.approx(6.707, abs=1e-3)
    assert (loc["n"], loc["promised"], loc["seeds"]) == (3, 3, "0 1 2")
    assert len(loc["runs"].split()) == 3
    seeds = data[(data["error"] == "Loc") & (data["point"] == "seed")]
    assert sorted(seeds["value"]) == pytest.approx([13.5, 16.2, 18.9])


def test_the_figure_is_drawn_again_from_its_csv(tmp_path: Path):
    names = ["baseline", "$x_1$ & 50%", "0.10", "_hidden", 'a "quoted", name\\n']
    make_store(tmp_path / "runs", {"method": names}, state=lambda labels, seed: "done" if seed else "failed")
    data = tide_bars.data(read_study(tmp_path / "runs"), SPEC, "made")
    first = save(tide_bars.draw(data, SPEC), data, tmp_path / "first")
    again = read_csv(first[2])
    second = save(tide_bars.draw(again, SPEC), again, tmp_path / "second")
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)] == [True] * 3


def test_unfinished_rows_are_hollow_and_named(tmp_path: Path):
    make_store(tmp_path, {"method": ["baseline", "c2d"]},
               state=lambda labels, seed: "new" if labels["method"] == "c2d" and seed else "done")  # fmt: skip
    figure = tide_bars.draw(tide_bars.data(read_study(tmp_path), SPEC, "made"), SPEC)
    faces = {patch.get_facecolor()[:3] for axes in figure.axes for patch in axes.patches}
    assert (1.0, 1.0, 1.0) in faces
    assert any("c2d 1/3" in text.get_text().replace("\n", " ") for text in figure.texts)
    assert any("do not sum" in text.get_text().replace("\n", " ") for text in figure.texts)


def test_nothing_finished_gives_a_message(tmp_path: Path):
    make_store(tmp_path, {"method": ["baseline", "c2d"]}, state=lambda labels, seed: "failed")
    data = tide_bars.data(read_study(tmp_path), SPEC, "made")
    assert (data["n"] == 0).all()
    figure = tide_bars.draw(data, SPEC)
    assert "6 failed" in " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_twelve_rows_keep_their_bars_apart(tmp_path: Path):
    make_store(tmp_path, {"method": ["baseline", *map(str, range(11))]})
    figure = tide_bars.draw(tide_bars.data(read_study(tmp_path), SPEC, "made"), SPEC)
    bars = [bar for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars)
    assert len(spans) == 12 * 6
    assert all(before[1] <= after[0] + 1e-9 for before, after in itertools.pairwise(spans))


def test_an_unknown_baseline_is_refused(tmp_path: Path):
    make_store(tmp_path, {"method": ["baseline", "c2d"]})
    with pytest.raises(InputError, match="did you mean 'baseline'"):
        tide_bars.data(read_study(tmp_path), parse({"kind": "tide", "baseline": {"method": "basline"}}), "made")
    with pytest.raises(InputError, match="axis of the baseline"):
        tide_bars.data(read_study(tmp_path), parse({"kind": "tide", "baseline": {"student": "tiny"}}), "made")
