"""A failure on another rank than 0 is recorded in status.json with its rank, its reason and its class."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import c2d.training.train as training
from c2d.core.attempt import Interrupted, attempt, record_rank_failure
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, read_json
from c2d.training.loop import Trainer
from c2d.training.train import build, train
from tests.c2d.conftest import TinyStore
from tests.c2d.evaluation.forked_ranks import run_ranks


def test_the_reason_of_rank_1_is_the_reason_of_the_run(tiny_store: TinyStore, tmp_path: Path) -> None:
    schedule = {"name": "smoke", "values": {"iterations": 4, "batch": 4}}
    folder = tiny_store.with_empty_store(tmp_path).create_run(seed=3, schedule=schedule)

    def train_rank(rank: int) -> None:
        os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank)}
        step = Trainer.step

        def failing_step(self: Trainer, batch: Any) -> Any:
            if rank == 1 and self.iteration == 2:
                raise ValueError("this image has 5 channels")
            return step(self, batch)

        Trainer.step = failing_step  # type: ignore[method-assign]
        train(folder, tiny_store.options())

    (tmp_path / "ranks").mkdir()
    first, second = run_ranks(2, train_rank, tmp_path / "ranks")
    assert isinstance(second, ValueError)
    assert isinstance(first, RunError)
    status, report = folder.read_status(), read_json(folder.ranks / "1.json")
    assert status["state"] == "failed"
    assert status["reason"] == f"rank 1 on {report['node']}: ValueError: this image has 5 channels"
    assert status["failure_class"] == report["class"] == "user-code"


def test_an_input_error_of_rank_1_before_the_first_step_is_the_reason_of_the_run(
    tiny_store: TinyStore, tmp_path: Path
) -> None:
    schedule = {"name": "smoke", "values": {"iterations": 4, "batch": 4}}
    folder = tiny_store.with_empty_store(tmp_path).create_run(seed=3, schedule=schedule)

    def train_rank(rank: int) -> None:
        os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank)}

        def failing_build(sources: Any) -> Any:
            if rank == 1:
                raise InputError("no file teacher.pth on this node")
            return build(sources)

        training.build = failing_build
        train(folder, tiny_store.options())

    (tmp_path / "ranks").mkdir()
    run_ranks(2, train_rank, tmp_path / "ranks")
    status, report = folder.read_status(), read_json(folder.ranks / "1.json")
    assert (status["state"], status["failure_class"]) == ("failed", "config")
    assert status["reason"] == f"rank 1 on {report['node']}: no file teacher.pth on this node"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("WORLD_SIZE", "2")
    return RunFolder(tmp_path / "run")


def test_a_signal_after_the_failure_of_another_rank_is_that_failure(folder: RunFolder) -> None:
    """torchrun stops the other ranks with TERM, as a person would."""
    with pytest.raises(MemoryError), record_rank_failure(folder, 3):
        raise MemoryError("out of memory")
    with pytest.raises(RunError, match=r"rank 3 on .*out of memory"), attempt(folder, quiet=True):
        raise Interrupted("interrupted by SIGTERM; call again to continue", 1, by="SIGTERM")
    assert folder.read_status()["state"] == "failed"


def test_an_old_report_and_a_rank_that_only_lost_the_others_explain_nothing(folder: RunFolder) -> None:
    with pytest.raises(RunError), record_rank_failure(folder, 1):
        raise RunError("connection closed by peer", "hang")
    assert not folder.ranks.exists()
    folder.write_rank_report(1, "cuda-oom", "long ago")
    report = folder.ranks / "1.json"
    report.write_text(report.read_text().replace(time.strftime("%Y-"), "2001-"))
    with pytest.raises(Interrupted), attempt(folder, quiet=True):
        raise Interrupted("interrupted by SIGTERM; call again to continue", 1, by="SIGTERM")
    assert folder.read_status()["state"] == "waiting"


def test_one_process_reads_no_report(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_rank_report(1, "cuda-oom", "of another start")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(Interrupted), attempt(folder, quiet=True):
        raise Interrupted("interrupted", 1)
    assert folder.read_status()["state"] == "waiting"
