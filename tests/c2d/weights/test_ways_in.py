"""A file that runs code when unpickled is refused by every loader: resume, teacher, student, backbone."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.core.run_folder import RunFolder
from c2d.training.train import train
from c2d.weights import safe_load
from tests.c2d.conftest import TinyStore


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Evil(tmp_path / "mark")}, path)
    return path


def refused(tmp_path: Path, call: Any) -> None:
    with pytest.raises(safe_load.Refused) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "mark").exists()


def test_the_file_is_dangerous(evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)  # `mmdet_scope` sets it
    torch.load(evil, weights_only=False)
    assert (tmp_path / "mark").exists()


def test_resume(tiny_store: TinyStore, evil: Path, tmp_path: Path) -> None:
    other = tiny_store.with_empty_store(tmp_path)
    folder = other.create_run(seed=31)
    folder.checkpoints.mkdir(parents=True)
    folder.checkpoint(3).write_bytes(evil.read_bytes())
    refused(tmp_path, lambda: train(folder, other.options()))


def test_teacher(tiny_store: TinyStore, teacher: RunFolder, evil: Path, tmp_path: Path) -> None:
    other = tiny_store.with_empty_store(tmp_path)
    copy = other.runs / teacher.id
    copy.mkdir(parents=True)
    for path in (teacher.spec, teacher.status, teacher.config, teacher.config_json):
        (copy / path.name).write_bytes(path.read_bytes())
    # Without the digests, by which another file is refused before it is read.
    result = {key: value for key, value in json.loads(teacher.result.read_text()).items() if key != "sha256"}
    (copy / teacher.result.name).write_text(json.dumps(result))
    (copy / "classifier.pth").write_bytes(evil.read_bytes())
    folder = other.create_run(method=[{"icod": {}}], teachers={"classifier": teacher.id})
    refused(tmp_path, lambda: train(folder, other.options()))


def test_student(tiny_store: TinyStore, evil: Path, tmp_path: Path) -> None:
    from c2d.evaluation.evaluate_files import evaluate_files

    folder = tiny_store.create_run(seed=32)
    train(folder, tiny_store.options())
    refused(
        tmp_path,
        lambda: evaluate_files(folder.config, evil, str(tiny_store.data / "scenes"), tmp_path / "runs", check=False),
    )


def test_backbone(tiny_store: TinyStore, evil: Path, tmp_path: Path) -> None:
    other = tiny_store.with_empty_store(tmp_path)
    folder = other.create_run(init=str(evil))
    refused(tmp_path, lambda: train(folder, other.options()))
    assert not folder.log.exists()


def test_a_bare_pickle(tmp_path: Path) -> None:
    path = tmp_path / "bare.pth"
    path.write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    refused(tmp_path, lambda: safe_load.load(path))
