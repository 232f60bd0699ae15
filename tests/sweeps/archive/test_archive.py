"""Export and import of finished runs: complete, verified, and nothing in a store is ever replaced."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.loading.load import read_study
from c2d.cli.main import main
from c2d.core.archives.archive_index import INDEX_FILE, is_run_file
from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json, read_json
from c2d.evaluation.evaluate_run import evaluate_run
from sweeps.archive.export_runs import ExportRequest, export_runs
from sweeps.archive.import_runs import import_runs

STORE = Path(__file__).parents[2] / "fixtures" / "runs"
TEACHER = "resnet18-classifier-8b26211ff2a3-s0"
STUDENT = "tiny-retinanet-icod-da918d770025-s0"
OTHER = "tiny-retinanet-baseline-10e2263c0d72-s0"
Export = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of our own, because tests change it."""
    return Path(shutil.copytree(STORE, tmp_path / "store"))


@pytest.fixture
def export(tmp_path: Path) -> Export:
    def run(runs: Path = STORE, name: str = "out", **keys: object) -> Path:
        out = tmp_path / name
        export_runs(ExportRequest(runs, out, **(keys or {"sweeps": ["tiny"]})), lambda line: None)  # type: ignore[arg-type]
        return out

    return run


def tree(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_an_archive_lists_every_file_with_its_sha256(export: Export) -> None:
    out = export()
    index = read_json(out / INDEX_FILE)
    files = tree(out)
    assert {name: entry["sha256"] for name, entry in index["files"].items()} == {
        name: digest for name, digest in files.items() if name not in (INDEX_FILE, "README.txt")
    }
    assert index["runs"][TEACHER] == "teacher"
    assert index["runs"][STUDENT] == "student"
    assert all(read_json(out / run / "status.json")["state"] == "done" for run in index["runs"])
    assert set(index["missing"].values()) == {"waiting", "failed"} or set(index["missing"]) == {
        run.name for run in STORE.glob("tiny-*") if read_json(run / "status.json")["state"] != "done"
    }
    inside = {name.partition("/")[2] for name in files if name.partition("/")[0] in index["runs"]}
    assert {"spec.json", "env.json", "metrics.jsonl", "detections.json.gz", "student.pth", "result.json"} <= inside
    assert all(is_run_file(name) for name in inside)
    assert "log.txt" not in inside


def test_a_report_reads_an_archive_as_it_reads_the_store(export: Export) -> None:
    of_store, of_archive = (read_study(place).frame.set_index("run") for place in (STORE, export()))
    done = [run for run in of_archive.index if of_archive.state[run] == "done"]
    assert len(done) == 8
    assert of_archive.AP[done].equals(of_store.AP[done])


def test_runs_that_are_not_finished_have_one_line_a_state(store: Path, tmp_path: Path) -> None:
    done = sorted(run.name for run in store.glob("tiny-*") if read_json(run / "status.json")["state"] == "done")
    *waiting, gone = done[:5]
    for run in waiting:
        atomic_write_json(store / run / "status.json", read_json(store / run / "status.json") | {"state": "waiting"})
        (store / run / "result.json").unlink()
    shutil.rmtree(store / gone)
    lines: list[str] = []
    export_runs(ExportRequest(store, tmp_path / "out", sweeps=["tiny"]), lines.append)
    (of_waiting,) = [line for line in lines if " waiting" in line]
    count, _, named = of_waiting.removeprefix("left out: ").partition(" runs are waiting: ")
    assert int(count) >= 4
    assert len(re.findall(r"tiny-[\w-]+-s\d", named)) == 3
    assert named.endswith(", ... (all in ARCHIVE.json)")
    assert f"left out: {gone} is not launched" in lines
    assert set(waiting) <= set(read_json(tmp_path / "out" / INDEX_FILE)["missing"])


def test_export_of_one_run_brings_its_teacher_and_only_what_is_asked(export: Export) -> None:
    out = export(run_ids=[STUDENT], weights=False, detections=False)
    index = read_json(out / INDEX_FILE)
    assert index["runs"] == {TEACHER: "teacher", STUDENT: "student"}
    assert index["missing"] == {}
    assert not list(out.rglob("*.pth"))
    assert not list(out.rglob("detections*"))
    assert not (out / "sweeps").exists()
    assert "weights" in index["left_out"]
    assert "detections" in index["left_out"]


def test_a_changed_weight_file_is_not_exported(store: Path, export: Export) -> None:
    result = read_json(store / STUDENT / "result.json")
    weights = store / STUDENT / "student.pth"
    result["sha256"] = {"student.pth": hashlib.sha256(weights.read_bytes()).hexdigest()}
    atomic_write_json(store / STUDENT / "result.json", result)
    assert (export(store, "first", run_ids=[STUDENT]) / STUDENT / "student.pth").is_file()
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"student\.pth was changed after the run wrote its result"):
        export(store, "second", run_ids=[STUDENT])
    assert [path.name for path in store.parent.iterdir() if "second" in path.name] == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"run_ids": ["nobody"]}, "nobody"),
        ({"sweeps": ["nobody"]}, "c2d sweep list"),
        ({"run_ids": []}, "--sweep NAME"),
    ],
)
def test_export_refuses_what_is_not_there(export: Export, keys: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(**keys)


def test_import_adds_what_is_missing_and_a_second_time_nothing(export: Export, tmp_path: Path) -> None:
    out, store = export(), tmp_path / "new"
    first = import_runs(out, store)
    assert len(first.added) == 8
    assert first.sweeps == ["tiny"]
    assert not first.conflicts
    assert not first.refused
    expected = {name: digest for name, digest in tree(out).items() if name not in (INDEX_FILE, "README.txt")}
    assert tree(store) == expected
    second = import_runs(out, store)
    assert len(second.equal) == 8
    assert not second.added
    assert not second.conflicts
    assert tree(store) == expected


def test_runs_with_other_numbers_are_conflicts_that_are_named_and_kept(export: Export, store: Path) -> None:
    out = export()
    result = read_json(store / STUDENT / "result.json")
    atomic_write_json(store / STUDENT / "result.json", {**result, "AP": 0.5, "seconds": {"train": 1}})
    before = tree(store)
    done = import_runs(out, store)
    assert done.conflicts == [
        f"{STUDENT}: AP 0.5 here, {result['AP']:.6g} there; the store's is kept (to take the other, remove "
        f"{store / STUDENT})"
    ]
    assert tree(store) == before
    assert STUDENT not in done.equal


def test_a_run_that_differs_in_its_times_alone_is_the_same(export: Export, store: Path) -> None:
    result = read_json(store / STUDENT / "result.json")
    atomic_write_json(store / STUDENT / "result.json", {**result, "seconds": {"train": 1.5}})
    assert STUDENT in import_runs(export(), store).equal


def test_other_weights_and_an_unfinished_run_are_conflicts(export: Export, store: Path) -> None:
    out = export()
    (store / STUDENT / "student.pth").write_bytes(b"another")
    other = "tiny-retinanet-baseline-10e2263c0d72-s0"
    atomic_write_json(store / other / "status.json", {"format": 1, "state": "failed", "attempt": 1})
    lines = import_runs(out, store).conflicts
    assert any(line.startswith(f"{STUDENT}: student.pth has another content") for line in lines)
    assert any(line.startswith(f"{other}: failed here, done there") for line in lines)


def test_a_file_that_was_changed_in_the_archive_refuses_its_run_alone(export: Export, tmp_path: Path) -> None:
    out = export()
    with (out / STUDENT / "metrics.jsonl").open("a") as stream:
        stream.write("{}\n")
    (out / TEACHER / "latency").mkdir()
    (out / TEACHER / "latency" / "cpu-1.json").write_text("{}")
    done = import_runs(out, tmp_path / "new")
    assert [line.partition(":")[0] for line in done.refused] == [TEACHER, STUDENT]
    assert "metrics.jsonl is not the file that was exported" in done.refused[1]
    assert "was added" in done.refused[0]
    assert not (tmp_path / "new" / STUDENT).exists()
    assert len(done.added) == 6


def test_a_spec_of_another_run_and_a_link_are_refused(export: Export, tmp_path: Path) -> None:
    out = export()
    (out / INDEX_FILE).unlink()  # as another store
    spec = read_json(out / STUDENT / "spec.json")
    atomic_write_json(out / STUDENT / "spec.json", {**spec, "seed": 9})
    done = import_runs(out, tmp_path / "new")
    assert done.refused
    assert "its spec.json is that of" in done.refused[0]
    assert len(done.added) == 7


def test_a_link_in_a_run_is_refused(store: Path, tmp_path: Path) -> None:
    """A link of a stranger's folder would bring a file of this machine into the store, and into the next archive."""
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (store / STUDENT / "metrics.jsonl").unlink()
    (store / STUDENT / "metrics.jsonl").symlink_to(secret)
    elsewhere = Path(shutil.copytree(store / TEACHER, tmp_path / "elsewhere"))
    shutil.rmtree(store / TEACHER)
    (store / TEACHER).symlink_to(elsewhere)
    done = import_runs(store, tmp_path / "new")
    assert [line.partition(":")[0] for line in done.refused] == [TEACHER, STUDENT]
    assert "metrics.jsonl is a link" in done.refused[1]
    assert not (tmp_path / "new" / STUDENT).exists()
    assert len(done.added) == 6


def test_another_store_is_merged_and_its_latencies_come_too(store: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert len(import_runs(store, new).added) == 8
    (store / STUDENT / "latency").mkdir()
    (store / STUDENT / "latency" / "cpu-1.json").write_text("{}")
    assert import_runs(store, new).completed == {STUDENT: 1}
    assert (new / STUDENT / "latency" / "cpu-1.json").is_file()
    assert import_runs(store, new).completed == {}


def test_another_manifest_of_the_same_name_is_a_conflict(export: Export, store: Path) -> None:
    out = export()
    manifest = json.loads((store / "sweeps" / "tiny.json").read_text())
    manifest["cells"] = manifest["cells"][:-1]
    (store / "sweeps" / "tiny.json").write_text(json.dumps(manifest))
    (line,) = import_runs(out, store).conflicts
    assert line.startswith(f"sweep tiny: {len(manifest['cells'])} cells here, {len(manifest['cells']) + 1} there")


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\u2028b"])
def test_paths_outside_of_an_archive_are_refused(export: Export, tmp_path: Path, path: str) -> None:
    out = export()
    index = read_json(out / INDEX_FILE)
    index["files"][path] = {"bytes": 0, "sha256": ""}
    atomic_write_json(out / INDEX_FILE, index)
    with pytest.raises(InputError, match="is no path inside the archive"):
        import_runs(out, tmp_path / "new")


def test_commands_and_their_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> int:
        with pytest.raises(SystemExit) as stop:
            main([str(part) for part in arguments])
        return int(stop.value.code or 0)

    out, new = tmp_path / "out", tmp_path / "new"
    assert run("runs", "export", "--sweep", "tiny", "--runs", STORE, "--out", out) == 1  # two are not finished
    assert "8 runs (1 of them teachers)" in capsys.readouterr().out
    assert run("runs", "export", STUDENT, "--runs", STORE, "--out", out) == 2  # the folder exists
    assert run("runs", "import", out, "--runs", new) == 0
    assert "8 runs added" in capsys.readouterr().out
    os.remove(new / STUDENT / "detections.json.gz")
    (new / STUDENT / "student.pth").write_bytes(b"another")
    assert run("runs", "import", out, "--runs", new) == 1
    assert "conflict: " in capsys.readouterr().out
    assert run("runs", "import", new, "--runs", new) == 2


def test_weights_that_an_archive_left_out_come_with_a_later_import(export: Export, tmp_path: Path) -> None:
    new = tmp_path / "new"
    import_runs(export(sweeps=["tiny"], weights=False, detections=False), new)
    with pytest.raises(InputError, match=r"has no student\.pth here; import the run"):
        evaluate_run(STUDENT, new, None, check=False)
    done = import_runs(STORE, new)
    assert len(done.equal) == 8
    assert done.completed[STUDENT] == 2
    for name in ("student.pth", "detections.json.gz"):
        assert (new / STUDENT / name).read_bytes() == (STORE / STUDENT / name).read_bytes()
    assert import_runs(STORE, new).completed == {}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("runs", 5, "runs is a number where an object belongs"),
        ("runs", {STUDENT: [1]}, f"runs.'{STUDENT}' is a list where text belongs"),
        ("missing", [], "missing is a list where an object belongs"),
        ("files", {"a": "abc"}, "it is text where an object belongs"),
        ("files", {"a": {"bytes": "1", "sha256": ""}}, "bytes of 'a' is '1' where a number belongs"),
        ("sweeps", "tiny", "sweeps is text where a list belongs"),
        ("format", True, "is of format True"),
    ],
)
def test_an_index_of_wrong_types_is_refused(
    export: Export, tmp_path: Path, key: str, value: object, message: str
) -> None:
    out = export(run_ids=[TEACHER])
    atomic_write_json(out / INDEX_FILE, {**read_json(out / INDEX_FILE), key: value})
    with pytest.raises(InputError, match=re.escape(message)):
        import_runs(out, tmp_path / "new")


def test_a_changed_manifest_of_an_archive_is_refused(export: Export, tmp_path: Path) -> None:
    out = export()
    manifest = read_json(out / "sweeps" / "tiny.json")
    atomic_write_json(out / "sweeps" / "tiny.json", {**manifest, "cells": manifest["cells"][:1]})
    done = import_runs(out, tmp_path / "new")
    assert done.refused == ["sweep tiny: its manifest is not the one that was exported; get the archive again"]
    assert not done.sweeps


def test_a_damaged_run_is_left_out_of_its_sweep_and_an_error_by_its_name(store: Path, export: Export) -> None:
    atomic_write_json(store / STUDENT / "result.json", {**read_json(store / STUDENT / "result.json"), "sha256": [1]})
    atomic_write_json(store / OTHER / "spec.json", [])
    index = read_json(export(store) / INDEX_FILE)
    assert (index["missing"][STUDENT], index["missing"][OTHER]) == ("damaged", "damaged")
    assert len(index["runs"]) == 6
    assert not [name for name in index["files"] if name.startswith((STUDENT, OTHER))]
    with pytest.raises(InputError, match="sha256 is a list where an object belongs"):
        export(store, "second", run_ids=[STUDENT])


def test_runs_of_another_store_and_places_inside_the_store_are_refused(store: Path, tmp_path: Path) -> None:
    for out, run, message in (
        (tmp_path / "out", str(STORE / STUDENT), "is no run of the store"),
        (store / STUDENT / "out", STUDENT, "is inside the store"),
    ):
        with pytest.raises(InputError, match=message):
            export_runs(ExportRequest(store, out, [run]), lambda line: None)
        assert not out.exists()


def test_what_is_no_file_in_latency_is_left_out(store: Path, export: Export) -> None:
    (store / STUDENT / "latency" / "x.json").mkdir(parents=True)
    os.mkfifo(store / STUDENT / "latency" / "y.json")
    assert "latency" not in str(list(read_json(export(store, run_ids=[STUDENT]) / INDEX_FILE)["files"]))


def test_a_run_that_another_import_added_meanwhile_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = tmp_path / "new"
    import_runs(STORE, new)
    real = os.path.lexists  # as it was a moment ago, before the other import renamed its copy
    monkeypatch.setattr("os.path.lexists", lambda path: real(path) and path != new / STUDENT)
    done = import_runs(STORE, new)
    assert STUDENT in done.equal
    assert not done.added
    assert not list(new.glob(".*"))


def test_a_link_to_nothing_in_the_place_of_a_run_is_a_conflict(tmp_path: Path) -> None:
    (tmp_path / STUDENT).symlink_to("nowhere")
    done = import_runs(STORE, tmp_path)
    assert [line.partition(":")[0] for line in done.conflicts] == [STUDENT]
    assert len(done.added) == 7


def test_a_digest_never_leads_out_of_the_store(store: Path, tmp_path: Path) -> None:
    """A stranger's spec.json names a config beside its store, which would be written beside ours."""
    spec = read_json(store / OTHER / "spec.json")
    spec["student"]["digest"] = "../../planted"
    atomic_write_json(store / OTHER / "spec.json", spec)
    (tmp_path / "planted.py").write_text("import os")
    ours = tmp_path / "elsewhere" / "ours"
    done = import_runs(store, ours)
    assert [line for line in done.refused if OTHER in line and "student.digest" in line]
    assert not (ours.parent / "planted.py").exists()
