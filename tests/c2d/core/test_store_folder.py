"""The folders of a store: which may be runs, and where its shared files are."""

from __future__ import annotations

import os
from pathlib import Path

from c2d.core import store_folder
from c2d.core.run_folder import RunFolder


def test_the_shared_files_of_a_run_are_in_the_shared_folders() -> None:
    run, runs = RunFolder(Path("runs/a")), Path("runs")
    assert store_folder.targets_path(runs, "ab") == run.targets("ab") == Path("runs/targets/ab.json.gz")
    assert store_folder.sweep_record_path(runs, "demo") == Path("runs/sweeps/demo.json")
    shared = {run.student_config("x").parent.name, run.weights("x").parent.name, run.targets("x").parent.name}
    assert shared < set(store_folder.SHARED_FOLDERS)


def test_entries_are_the_folders_that_may_be_runs(tmp_path: Path) -> None:
    for name in ("b", "a", "sweeps", "targets", ".hidden", "line\nbreak"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    found = store_folder.list_store(tmp_path)
    assert found.runs == ["a", "b"]
    assert ["'line\\nbreak'" in problem.message for problem in found.problems] == [True]


def test_a_folder_of_undecodable_name_is_a_problem(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    found = store_folder.list_store(tmp_path)
    assert found.runs == []
    found.problems[0].message.encode()
    assert len(found.problems) == 1
