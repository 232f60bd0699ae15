"""The config of a run folder: config.json, config.py and the dump of mmengine are equal, and changes are noticed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mmengine import Config

from c2d.configs.run_config import (
    file_digests,
    read_literal_config,
    read_run_config,
    run_of_config,
    verify_before_training,
    write_run_config,
)
from c2d.configs.student_config import config_text, kept_student, load_student, student_digest, student_names
from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from tests.c2d.configs.test_stored_config import same

STORE = Path(__file__).parents[2] / "fixtures" / "runs"
"""Runs of an earlier version, which have config.py alone, as mmengine dumps it."""
TINY = Config({"model": {"type": "A", "scale": (1333, 800), "limit": float("inf")}, "test_dataloader": {"b": [None]}})


def written(folder: Path, config: Config = TINY) -> RunFolder:
    run = RunFolder(folder)
    write_run_config(run, config, Config({"seed": 0}))
    return run


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    run = written(tmp_path / "run")
    run.spec.write_text("{}")
    run.student.write_bytes(b"weights")
    atomic_write_json(run.result, {"AP": 0.5, "sha256": file_digests(run, run.student)})
    return run


@pytest.mark.parametrize("name", student_names())
def test_a_shipped_student_is_read_from_each_file_as_it_was(name: str, tmp_path: Path) -> None:
    config = load_student(name, num_classes=3)
    run = written(tmp_path / "run", config)
    plain = config.to_dict()
    assert same(read_run_config(run).to_dict(), plain)
    assert same(Config.fromfile(run.config).to_dict(), plain)
    assert same(read_literal_config(run.config), plain)
    run.train_config.write_text(config.pretty_text)  # what earlier versions wrote, in the order of mmengine
    assert read_literal_config(run.train_config) == plain


@pytest.mark.parametrize("path", sorted(STORE.rglob("*.py")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_configs_of_earlier_versions_are_read_as_mmengine_reads_them(path: Path) -> None:
    assert same(read_literal_config(path), Config.fromfile(path).to_dict())


def test_the_same_detector_is_built(tmp_path: Path) -> None:
    from c2d.evaluation.stock_model import build_student

    run = written(tmp_path / "run", load_student("retinanet-qr18", num_classes=3))
    models = [build_student(config) for config in (read_run_config(run), Config.fromfile(run.config))]
    assert str(models[0]) == str(models[1])
    assert list(models[0].state_dict()) == list(models[1].state_dict())


def test_either_file_is_enough(finished: RunFolder) -> None:
    plain = read_run_config(finished).to_dict()
    assert same(plain, TINY.to_dict())
    value = read_json(finished.result)
    atomic_write_json(
        finished.result, value | {"sha256": {k: v for k, v in value["sha256"].items() if k != "config.json"}}
    )
    finished.config_json.unlink()
    assert same(read_run_config(finished).to_dict(), plain)


@pytest.mark.parametrize("name", ["config.json", "config.py", "student.pth"])
@pytest.mark.parametrize("change", ["byte", "longer", "missing", "folder", "pipe"])
def test_a_changed_file_of_a_finished_run_is_named(finished: RunFolder, name: str, change: str) -> None:
    path = finished.path / name
    content = path.read_bytes()
    if change == "byte":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif change == "longer":
        path.write_bytes(content + b"\n")
    else:
        path.unlink()
    if change == "folder":
        path.mkdir()
    elif change == "pipe":
        os.mkfifo(path)
    with pytest.raises(
        InputError, match=rf"{name} is (not the file that the run wrote|missing|not a regular file).*restore"
    ):
        read_run_config(finished)


def test_digests_of_an_unfinished_run_are_in_its_status(tmp_path: Path) -> None:
    run = written(tmp_path / "run")
    verify_before_training(run)
    other = Config({"model": {"type": "B"}})
    for path in (run.config_json, run.config):  # killed between the files: those of the last attempt are right, too
        before = path.read_bytes()
        write_run_config(run, other, Config({}))
        after = path.read_bytes()
        path.write_bytes(before)
        verify_before_training(run)
        path.write_bytes(after)
        write_run_config(run, TINY, Config({}))
    run.config.unlink()
    verify_before_training(run)
    run.config.write_text("model = 1")
    with pytest.raises(
        InputError, match=r"config\.py is not as the last attempt wrote it.*remove it, and it is written"
    ):
        verify_before_training(run)
    with pytest.raises(
        InputError, match=r"config\.py is not the file that the run wrote \(its sha256 differs from status"
    ):
        read_run_config(run)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "config": {"a": {"$x": 1}}}', "[" * 99_999,
     '{"format": 1, "config": ' + '{"a": ' * 490 + "1" + "}" * 491,
     "\xff", '{"format": 1, "config": {"a": NaN}}', '{"format": 1, "config": {"a": {"$float": "1e400"}}}'],
)  # fmt: skip
def test_a_damaged_config_without_digests_is_one_line(tmp_path: Path, content: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.config_json.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"config\.json .*restore the file") as caught:
        read_run_config(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [3, [], {"config.py": 3}])
def test_damaged_digests_are_one_line(finished: RunFolder, value: object) -> None:
    atomic_write_json(finished.result, {"sha256": value})
    with pytest.raises(InputError, match=r"sha256 of .*result\.json is .* where digests by file belong"):
        read_run_config(finished)


def test_a_config_of_a_run_folder_is_known_by_its_place(finished: RunFolder, tmp_path: Path) -> None:
    assert run_of_config(finished.config) == RunFolder(finished.path.resolve())
    assert run_of_config(finished.config_json) is not None
    assert run_of_config(finished.train_config) is None
    (tmp_path / "config.py").write_text("model = 1")
    assert run_of_config(tmp_path / "config.py") is None


def test_a_kept_student_is_verified_and_not_executed(tmp_path: Path) -> None:
    path, digest = tmp_path / "kept.py", student_digest("retinanet-qr18")
    path.write_text(config_text("retinanet-qr18"))
    assert student_digest(str(path), kept_student(path, digest)) == digest
    path.write_text(config_text("retinanet-qr18").replace("123.675", "123.676", 1))
    with pytest.raises(InputError, match=rf"the run needs {digest[:12]}; .*remove the file"):
        kept_student(path, digest)
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{config_text('retinanet-qr18')}")
    with pytest.raises(InputError, match=r"line 1 of .*literal values alone; nothing of it was executed"):
        kept_student(path, digest)
    assert not (tmp_path / "ran").exists()
