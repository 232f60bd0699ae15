"""Allowed options of the command line, and the errors of all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.latency import options
from c2d.core.errors import InputError
from c2d.data.scenes.make_scenes import make_scenes


def run(runs: Path, name: str, kind: str = "detector", finished: bool = True, **more: Any) -> Path:
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps({"kind": kind, **more}))
    if finished:
        (folder / "student.pth").write_bytes(b"weights")
        (folder / "config.py").write_text("model = dict()\n")
        (folder / "result.json").write_text(json.dumps({"AP": 0.25}))
    return folder


def test_a_run_by_its_id_the_beginning_of_it_or_its_folder(tmp_path: Path) -> None:
    folder = run(tmp_path, "retina-abc-s0")
    run(tmp_path, "ssd-abc-s0")
    for given in ("retina-abc-s0", "retina", str(folder)):
        found = options.choose_target(given, None, None, None, tmp_path)
        assert found == options.Target(folder / "config.py", folder / "student.pth", folder / "latency", 0.25)
    assert options.choose_target("retina", None, None, Path("elsewhere"), tmp_path).folder == Path("elsewhere")


def test_data_that_have_moved(tmp_path: Path) -> None:
    """The card of a run is found by name and digest; the data_root of a config is replaced."""
    card = make_scenes(tmp_path / "data" / "scenes", train=1, val=2, size=64, seed=0)
    folder = run(tmp_path / "runs", "retina", dataset={"name": "scenes", "digest": card.digest})
    found = options.choose_target("retina", None, None, None, tmp_path / "runs", tmp_path / "data").dataset_overrides
    there = (tmp_path / "data" / "scenes").resolve()
    assert found is not None
    assert found["data_root"] == ""
    assert Path(found["ann_file"]).is_relative_to(there)
    assert Path(found["ann_file"]).is_file()
    assert sorted(path.suffix for path in Path(found["data_prefix"]["img"]).iterdir()) == [".png"] * 2
    assert options.choose_target("retina", None, None, None, tmp_path / "runs").dataset_overrides is None
    (folder / "spec.json").write_text(
        json.dumps({"kind": "detector", "dataset": {"name": "scenes", "digest": "0" * 64}})
    )
    with pytest.raises(InputError, match="the run names 000000000000"):
        options.choose_target("retina", None, None, None, tmp_path / "runs", tmp_path / "data")
    of_config = options.choose_target(None, Path("c.py"), Path("k.pth"), Path("out"), None, tmp_path / "data")
    assert of_config.dataset_overrides == {"data_root": str((tmp_path / "data").resolve())}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("classifier", "is no detector"),
        ("unfinished", "is waiting and has no result yet; finish it"),
        ("two", "fits 2 runs"),
        ("retinna", "unknown run in .*did you mean 'retina'"),
    ],
)
def test_a_run_that_cannot_be_timed(tmp_path: Path, given: str, message: str) -> None:
    run(tmp_path, "classifier", kind="classifier")
    run(tmp_path, "unfinished", finished=False)
    run(tmp_path, "two-a")
    run(tmp_path, "two-b")
    run(tmp_path, "retina")
    with pytest.raises(InputError, match=message):
        options.choose_target(given, None, None, None, tmp_path)


def test_files_need_each_other_and_a_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--checkpoint K, --out DIR missing"):
        options.choose_target(None, Path("c.py"), None, None, tmp_path)
    with pytest.raises(InputError, match="not both"):
        options.choose_target("run", Path("c.py"), None, None, tmp_path)
    found = options.choose_target(None, Path("c.py"), Path("k.pth"), Path("out"), tmp_path)
    assert (found.folder, found.ap) == (Path("out"), None)


@pytest.mark.parametrize(("text", "size"), [("300", (300, 300)), ("800x1333", (800, 1333)), ("64×96", (64, 96))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert options.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "300x", "1x2x3", "-5", "16", "big"])
def test_invalid_sizes(text: str) -> None:
    with pytest.raises(InputError, match="is no size; give one side"):
        options.parse_size(text)


def test_backends_by_name_once_each() -> None:
    assert options.backend_names(None) == ["eager"]
    assert options.backend_names(["eager", "eager"]) == ["eager"]
    assert "eager" in options.backend_names(["all"])
    with pytest.raises(InputError, match="unknown backend 'egaer'; did you mean 'eager'"):
        options.backend_names(["egaer"])
