"""Where a report is written: never into the store, and never half a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analysis.report.output_folder import OutputFolder
from c2d.core.errors import InputError


def test_a_file_is_written_whole_and_counted(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out", tmp_path / "runs")
    assert not (tmp_path / "out").exists()
    path = folder.write("tables/a.csv", "x,y\r\n1,2\r\n")
    assert path.read_bytes() == b"x,y\r\n1,2\r\n"
    assert folder.written == [path]
    assert [item.name for item in path.parent.iterdir()] == ["a.csv"]


def test_files_of_an_earlier_report_are_counted(tmp_path: Path) -> None:
    OutputFolder(tmp_path / "out", tmp_path / "runs").write("tables/old.csv", "x")
    folder = OutputFolder(tmp_path / "out", tmp_path / "runs")
    folder.write("tables/new.csv", "y")
    assert folder.older("tables", "figures") == 1


@pytest.mark.parametrize("inside", ["", "run-1", "sweeps/x"])
def test_the_store_is_refused(tmp_path: Path, inside: str) -> None:
    store = tmp_path / "runs"
    store.mkdir()
    with pytest.raises(InputError, match="inside the store"):
        OutputFolder(store / inside, store)


def test_a_link_into_the_store_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    store.mkdir()
    (tmp_path / "out").symlink_to(store)
    with pytest.raises(InputError, match="inside the store"):
        OutputFolder(tmp_path / "out" / "report", store)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is no folder"):
        OutputFolder(tmp_path / "out", tmp_path / "runs")
    with pytest.raises(InputError, match="cannot write"):
        OutputFolder(tmp_path / "out" / "below", tmp_path / "runs").write("a", "b")
    assert (tmp_path / "out").read_text() == "mine"


def test_links_that_point_at_themselves_and_long_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="is no folder"):
        OutputFolder(tmp_path / "loop", tmp_path / "runs")
    with pytest.raises(InputError, match="cannot write"):
        OutputFolder(tmp_path / ("x" * 300), tmp_path / "runs").write("a", "b")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out" / "a").mkdir(parents=True)
    with pytest.raises(InputError, match="check the path"):
        OutputFolder(tmp_path / "out", tmp_path / "runs").write("a", b"b")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def test_drafts_of_killed_reports_are_removed_when_they_are_old(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out", tmp_path / "runs")
    folder.write("tables/a.csv", "x")
    old, young = (tmp_path / "out" / "tables" / f".draft-{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (0, 0))
    folder.remove_drafts()
    assert [old.exists(), young.exists()] == [False, True]  # another report may be writing the young one
