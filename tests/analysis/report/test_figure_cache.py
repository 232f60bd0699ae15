"""Figures that an earlier report has drawn: equal files, and none that is out of date."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analysis.plots import FIGURES
from analysis.report import figure_cache
from analysis.report.figure_cache import FigureCache
from analysis.report.report import write_report
from analysis.report.report_contents import ReportRequest
from analysis.report.report_spec import parse
from benchmarks.suite.synthetic_store import make_store

SPEC = parse({"kind": "seeds"})
FILES = {".pdf": b"pdf\n\0", ".svg": b"<svg/>\n", ".csv": b"data"}


class CountedDraw:
    """Counts how often a figure is drawn."""

    def __init__(self, content: dict[str, bytes] = FILES) -> None:
        self.content, self.drawn = content, 0

    def __call__(self) -> dict[str, bytes]:
        self.drawn += 1
        return self.content


def test_equal_data_and_specs_are_drawn_once(tmp_path: Path) -> None:
    draw = CountedDraw()
    for _ in range(3):
        assert FigureCache(tmp_path / "cache", tmp_path / "runs").files(SPEC, b"data", draw) == FILES
    assert draw.drawn == 1


@pytest.mark.parametrize(
    ("spec", "csv"),
    [(parse({"kind": "seeds", "y": "AP50"}), b"data"), (SPEC, b"other data"),
     (parse({"kind": "seeds", "labels": {"method": {"a": "$x$"}}}), b"data")],
)  # fmt: skip
def test_other_data_or_another_spec_is_drawn_again(tmp_path: Path, spec: object, csv: bytes) -> None:
    cache, draw = FigureCache(tmp_path / "cache", tmp_path / "runs"), CountedDraw()
    cache.files(SPEC, b"data", draw)
    cache.files(spec, csv, draw)  # type: ignore[arg-type]
    assert draw.drawn == 2


def test_other_code_draws_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, draw = FigureCache(tmp_path / "cache", tmp_path / "runs"), CountedDraw()
    cache.files(SPEC, b"data", draw)
    monkeypatch.setattr(figure_cache, "_code", lambda: "other")
    cache.files(SPEC, b"data", draw)
    assert draw.drawn == 2


@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 64 + b"\nbody"])
def test_a_damaged_entry_is_drawn_again(tmp_path: Path, damage: bytes) -> None:
    cache, draw = FigureCache(tmp_path / "cache", tmp_path / "runs"), CountedDraw()
    cache.files(SPEC, b"data", draw)
    (entry,) = (tmp_path / "cache" / "figures").iterdir()
    entry.write_bytes(damage)
    assert cache.files(SPEC, b"data", draw) == FILES
    assert cache.files(SPEC, b"data", draw) == FILES
    assert draw.drawn == 2


def test_pictures_of_images_and_folders_in_the_store_are_not_kept(tmp_path: Path) -> None:
    draw = CountedDraw()
    FigureCache(tmp_path / "cache", tmp_path / "runs").files(parse({"kind": "detections"}), b"data", draw)
    FigureCache(tmp_path / "runs" / "cache", tmp_path / "runs").files(SPEC, b"data", draw)
    assert draw.drawn == 2
    assert not list(tmp_path.rglob("*.figure"))
    assert set(figure_cache.NOT_KEPT) <= set(FIGURES)


def test_the_oldest_entries_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, draw = FigureCache(tmp_path / "cache", tmp_path / "runs"), CountedDraw()
    cache.files(SPEC, b"one", draw)
    cache.files(SPEC, b"two", draw)
    (size,) = {path.stat().st_size for path in (tmp_path / "cache" / "figures").iterdir()}
    for path in (tmp_path / "cache" / "figures").iterdir():
        os.utime(path, (1, 1))  # a file system's clock may give both files one time
    monkeypatch.setattr(figure_cache, "MOST_BYTES", size)
    cache.files(SPEC, b"one", draw)  # used last
    cache.trim()
    cache.files(SPEC, b"one", draw)
    assert draw.drawn == 2


def test_a_second_report_draws_nothing_and_has_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_store(tmp_path / "runs", {"method": ["baseline", "a"]}, seeds=2)
    spec = tmp_path / "iou.yaml"
    spec.write_text("kind: iou\nsweep: made\nbaseline: {method: baseline}\n")
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        write_report(ReportRequest(tmp_path / "runs", out, ("made",), (str(spec),), cache=tmp_path / "cache"))
        monkeypatch.setattr(FIGURES["iou"], "draw", lambda data, spec: pytest.fail("drawn again"))
    for suffix in (".pdf", ".svg", ".csv"):
        one, two = ((out / "figures" / f"iou{suffix}").read_bytes() for out in outs)
        assert one == two
