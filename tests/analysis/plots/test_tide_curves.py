"""TIDE over IoU thresholds, from detections."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from analysis.loading.load import read_study
from analysis.plots import tide_curves
from analysis.plots.figure_files import read_csv
from analysis.report.report_spec import parse
from benchmarks.suite.synthetic_store import make_store
from tests.analysis.plots.figures import save

SPEC = parse({"kind": "tide_curves"})


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2D_CACHE", str(tmp_path / "cache"))


def test_a_curve_is_the_mean_over_seeds_at_ten_thresholds(tmp_path: Path):
    from c2d.metrics import tide

    runs = tmp_path / "runs"
    make_store(runs, {"method": ["baseline"]}, seeds=2, with_detections=True)
    data = tide_curves.data(read_study(runs), SPEC, "made")
    assert sorted(data["iou"].unique()) == pytest.approx([0.5 + 0.05 * k for k in range(10)])
    line = data[(data["error"] == "Cls") & (data["iou"] == 0.75)].iloc[0]
    truth = json.loads(gzip.decompress(next((runs / "targets").iterdir()).read_bytes()))
    expected = []
    for run in line["runs"].split():
        found = json.loads(gzip.decompress((runs / run / "detections.json.gz").read_bytes()))
        expected.append(100 * tide.evaluate(truth, found, "own", 0.75)["dAP"]["Cls"])
    assert line["value"] == pytest.approx(sum(expected) / 2)
    assert (line["n"], line["promised"]) == (2, 2)


def test_the_figure_is_drawn_again_from_its_csv(tmp_path: Path):
    make_store(tmp_path / "runs", {"method": ["baseline", "$x$", "0.10"]}, with_detections=True)
    data = tide_curves.data(read_study(tmp_path / "runs"), SPEC, "made")
    first = save(tide_curves.draw(data, SPEC), data, tmp_path / "first")
    again = read_csv(first[2])
    second = save(tide_curves.draw(again, SPEC), again, tmp_path / "second")
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True)] == [True] * 3


def test_runs_without_detections_are_named(tmp_path: Path):
    record = make_store(tmp_path / "runs", {"method": ["baseline", "c2d"]}, with_detections=True)
    lost = [cell["run"] for cell in record["cells"] if cell["labels"]["method"] == "c2d"]
    (tmp_path / "runs" / lost[0] / "detections.json.gz").write_bytes(b"no gzip")
    data = tide_curves.data(read_study(tmp_path / "runs"), SPEC, "made")
    c2d = data[data["row"] == "c2d"]
    assert set(c2d["n"]) == {2}
    assert lost[0] in c2d["note"].iloc[0]
    said = " ".join(text.get_text() for text in tide_curves.draw(data, SPEC).texts).replace("\n", " ")
    assert "c2d 2/3" in said
    assert lost[0] in said


def test_a_store_without_detections_gives_a_message(tmp_path: Path):
    make_store(tmp_path / "runs", {"method": ["baseline"]})
    data = tide_curves.data(read_study(tmp_path / "runs"), SPEC, "made")
    figure = tide_curves.draw(data, SPEC)
    assert "3 done without detections" in " ".join(text.get_text() for text in figure.axes[0].texts)
