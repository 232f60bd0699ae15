"""The folders of a store: which may be runs, where its shared files are, and which run an id or a folder means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from c2d.core import store_folder
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.store_folder import RunStore, find_run

ONE, TEN = "net-icod-0123456789ab-s1", "net-icod-0123456789ab-s10"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in (ONE, TEN, "net-kd-0123456789ab-s0"):
        atomic_write_json(RunFolder(tmp_path / name).spec, {})
    return tmp_path


def test_the_shared_files_are_in_the_shared_folders() -> None:
    store = RunStore(Path("runs"))
    assert store.targets("ab") == Path("runs/targets/ab.json.gz")
    assert store.manifest("demo") == Path("runs/sweeps/demo.json")
    assert store.submission("demo", "c2d-demo-1") == Path("runs/sweeps/demo/c2d-demo-1")
    shared = {store.student_config("x").parent, store.weights("x").parent, store.targets("x").parent}
    shared.add(store.dataset("x").parent)
    assert {path.name for path in [*shared, store.sweeps, store.snapshots, store.tracking]} == set(
        store_folder.SHARED_FOLDERS
    )


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


@pytest.mark.parametrize(("given", "expected"), [(ONE, ONE), (TEN, TEN), ("net-k", "net-kd-0123456789ab-s0")])
def test_an_id_or_its_beginning(runs: Path, given: str, expected: str) -> None:
    assert find_run(given, runs) == RunFolder(runs / expected)


def test_a_folder_of_any_store(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_run(str(runs / ONE), Path("elsewhere")) == RunFolder((runs / ONE).resolve())
    monkeypatch.chdir(runs)
    assert find_run(ONE, Path("elsewhere")).path == (runs / ONE).resolve()


def test_what_fits_no_run_or_several(runs: Path) -> None:
    with pytest.raises(InputError, match=r"fits 2 runs \(net-icod.*give more of the id"):
        find_run("net-icod", runs)
    with pytest.raises(InputError, match="run in"):
        find_run("ssd", runs)


def test_a_whole_id_is_no_beginning_of_another(runs: Path) -> None:
    RunFolder(runs / ONE).spec.unlink()
    with pytest.raises(InputError, match="run in"):
        find_run(ONE, runs)
