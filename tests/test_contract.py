"""tests/fixtures/runs is the run-folder table, executed: the writer and the readers agree with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2d.core.run_folder import RunFolder, read_json
from c2d.core.store_folder import RunStore
from c2d.metrics import coco, tide
from c2d.specs.spec import parse_spec

STORE = Path(__file__).parent / "fixtures" / "runs"
FOLDERS = [RunFolder(path.parent) for path in sorted(STORE.glob("*/spec.json"))]
DONE = [folder for folder in FOLDERS if folder.read_status()["state"] == "done"]
STUDENTS = [folder for folder in DONE if read_json(folder.spec)["kind"] == "detector"]


def test_the_fixture_is_a_finished_sweep_with_two_holes() -> None:
    """Three methods, three seeds; of kd_cls one run was interrupted and one has failed."""
    record = read_json(STORE / "sweeps" / "tiny.json")
    found = [
        (cell["labels"]["method"], cell["seed"], RunFolder(STORE / cell["run"]).read_status()["state"])
        for cell in record["cells"]
    ]
    states = {"kd_cls": ["done", "waiting", "failed"]}
    assert found == [
        (method, seed, states.get(method, ["done"] * 3)[seed])
        for method in ("baseline", "kd_cls", "icod")
        for seed in range(3)
    ]
    assert sorted({cell["run"] for cell in record["cells"]} | set(record["teachers"])) == [f.id for f in FOLDERS]
    assert len(STUDENTS) == 7


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.id)
def test_spec_gives_the_folder_its_name(folder: RunFolder) -> None:
    spec = parse_spec(read_json(folder.spec), str(folder.spec))
    assert spec.id == folder.id
    assert spec.to_json() == read_json(folder.spec)


@pytest.mark.parametrize("folder", DONE, ids=lambda folder: folder.id)
def test_every_file_of_the_table_is_there(folder: RunFolder) -> None:
    files = [folder.spec, folder.config, folder.train_config, folder.env, folder.status, folder.metrics, folder.result]
    if folder in STUDENTS:
        files += [
            folder.detections,
            folder.student,
            RunStore(folder.path.parent).targets(read_json(folder.spec)["dataset"]["digest"]),
        ]
    assert [path.name for path in files if not path.is_file()] == []
    (attempt,) = read_json(folder.env)["attempts"]
    assert {"git", "packages", "python", "machine", "command", "slurm", "environment", "time"} <= set(attempt)


@pytest.mark.parametrize("folder", STUDENTS, ids=lambda folder: folder.id)
def test_the_result_follows_from_detections_and_targets(folder: RunFolder) -> None:
    result = read_json(folder.result)
    targets = read_json(RunStore(folder.path.parent).targets(read_json(folder.spec)["dataset"]["digest"]))
    again = coco.evaluate(targets, read_json(folder.detections))
    for key in coco.NUMBERS:
        assert result[key] == pytest.approx(again[key], abs=1e-12), key
    errors = tide.evaluate(targets, read_json(folder.detections))
    assert result["tide"]["dAP"] == pytest.approx(errors["dAP"], abs=1e-12)


@pytest.mark.parametrize("folder", STUDENTS, ids=lambda folder: folder.id)
def test_metrics_are_one_event_a_line(folder: RunFolder) -> None:
    events = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(event["event"], event["iteration"]) for event in events] == [
        ("train", 1),
        ("train", 2),
        ("val", 2),
        ("train", 3),
        ("train", 4),
    ]
    assert {"time", "lr", "memory_mib", "loss"} <= set(events[0])


def test_the_student_is_taught_by_the_teacher_of_its_spec() -> None:
    (teacher,) = [folder for folder in DONE if folder not in STUDENTS]
    taught = [folder for folder in STUDENTS if read_json(folder.spec)["method"]]
    assert len(taught) == 4
    for folder in taught:
        assert read_json(folder.spec)["teachers"]["classifier"] == teacher.id
        recorded = read_json(folder.result)["teachers"]["classifier"]
        assert (recorded["run"], recorded["top1"]) == (teacher.id, read_json(teacher.result)["top1"])


def test_the_exported_weights_fit_the_stock_config() -> None:
    from mmengine import Config

    from c2d.evaluation.stock_model import load_student

    for folder in STUDENTS:
        model, audit = load_student(Config.fromfile(folder.config), folder.student)
        assert (audit.missing, audit.unexpected, audit.mismatched) == ((), (), ())
        assert sum(weight.numel() for weight in model.parameters()) == read_json(folder.result)["params"]


def test_the_reader_has_a_row_for_every_promise_with_the_writers_numbers(tmp_path: Path) -> None:
    from analysis.loading.load import read_study

    study = read_study(STORE, ("tiny",), tmp_path)
    assert study.problems == []
    rows = {str(row["run"]): row for row in study.frame.to_dict("records")}
    assert sorted(rows) == [folder.id for folder in FOLDERS]
    for folder in FOLDERS:
        status, row = folder.read_status(), rows[folder.id]
        assert row["state"] == status["state"]
        assert row["attempt"] == status["attempt"]
        spec = parse_spec(read_json(folder.spec), str(folder.spec))
        assert (row["name"], row["seed"], row["kind"]) == (spec.name, spec.seed, spec.kind)
    for folder in STUDENTS:
        result, row = read_json(folder.result), rows[folder.id]
        for key in coco.NUMBERS:
            assert row[key] == result[key] or (result[key] is None and row[key] != row[key])
        assert {error: row[f"tide.{error}"] for error in result["tide"]["dAP"]} == result["tide"]["dAP"]


def test_made_up_stores_have_the_keys_that_a_run_writes(tmp_path: Path) -> None:
    """What tests of analysis make up is no other format than what c2d writes."""
    from benchmarks.suite.synthetic_store import make_store

    record = make_store(tmp_path, {"method": ["baseline", "icod"]}, seeds=1)
    real = {kind: next(f for f in DONE if read_json(f.spec)["kind"] == kind) for kind in ("classifier", "detector")}
    ids = {"classifier": record["teachers"][0], "detector": record["cells"][1]["run"]}
    for kind, run in ids.items():
        made = RunFolder(tmp_path / run)
        for name in ("spec", "status", "result", "env"):
            ours, theirs = (read_json(getattr(folder, name)) for folder in (made, real[kind]))
            assert set(ours) <= set(theirs), (kind, name)
        assert set(read_json(made.spec)) == set(read_json(real[kind].spec))
        assert set(read_json(made.spec)["schedule"]["values"]) <= set(read_json(real[kind].spec)["schedule"]["values"])
    assert set(record) == set(read_json(STORE / "sweeps" / "tiny.json"))
