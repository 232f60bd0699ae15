"""A training with trackers: the same weights, whatever they do, and none of their packages without the option."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from c2d.core.run_folder import RunFolder, read_json
from c2d.training.metrics_logger import MetricsLogger
from c2d.training.train import train
from c2d.weights import safe_load
from tests.c2d.conftest import TinyStore
from tests.c2d.tracking.read_back import tensorboard_curves
from tests.c2d.tracking.test_tracker_thread import StandIn

PACKAGES = ("wandb", "mlflow", "tensorboard")


@pytest.fixture(scope="module")
def untracked(tiny_store: TinyStore) -> RunFolder:
    """A run without the option, in a process where an import of a tracker's package is an error."""
    folder = tiny_store.create_run(seed=41, iterations=4)
    with pytest.MonkeyPatch.context() as patch:
        for name in PACKAGES:
            patch.setitem(sys.modules, name, None)
        train(folder, tiny_store.options())
    assert not list((tiny_store.runs / "tracking").glob(f"*/{folder.id}*"))
    return folder


def tracked(store: TinyStore, **options: Any) -> RunFolder:
    folder = store.create_run(seed=41, iterations=4)
    train(folder, store.options(**options))
    return folder


def assert_equal_runs(first: RunFolder, second: RunFolder) -> None:
    ours, theirs = safe_load.load(first.student), safe_load.load(second.student)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert read_json(first.spec) == read_json(second.spec)
    assert first.id == second.id


def test_an_interrupted_run_is_shown_once_and_has_the_weights_of_an_untracked_one(
    tiny_store: TinyStore, untracked: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events of iteration 3 are sent twice: the checkpoint was written at 2. Loader processes are forked."""
    store = tiny_store.with_empty_store(tmp_path)
    log_step = MetricsLogger.log_step

    def die(self: Any, iteration: int, *values: Any) -> None:
        log_step(self, iteration, *values)
        if iteration == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLogger, "log_step", die)
        with pytest.raises(KeyboardInterrupt):
            tracked(store, track=("tensorboard",), checkpoint_every=2)
    folder = tracked(store, track=("tensorboard",), workers=1)
    assert_equal_runs(untracked, folder)
    curves, texts = tensorboard_curves(store.runs / "tracking" / "tensorboard" / folder.id)
    assert [step for step, _ in curves["loss/total"]] == [1, 2, 3, 4]
    assert curves["result/AP"] == [(4, pytest.approx(read_json(folder.result)["AP"]))]
    assert "| attempts | 2 |" in texts["run/tags"]
    assert "| state | finished |" in texts["run/tags"]


def test_trackers_that_fail_and_hang_change_nothing(
    tiny_store: TinyStore, untracked: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2d.tracking import tracking

    stand_ins = {"mlflow": StandIn(failing=["log"]), "wandb": StandIn(hanging=["open"])}
    monkeypatch.setattr(tracking, "make_tracker", lambda option, store: stand_ins[option.name])
    monkeypatch.setattr(tracking, "FINISH_S", 0.3)
    folder = tracked(tiny_store.with_empty_store(tmp_path), track=("mlflow", "wandb"))
    stand_ins["wandb"].released.set()
    assert_equal_runs(untracked, folder)
    assert folder.read_status()["state"] == "done"
    log = folder.log.read_text()
    assert log.count("--track mlflow: log failed") == 1
    assert "--track wandb: 4 events are not in it (its call `open` did not return in time)" in log
    assert threading.main_thread() is threading.current_thread()


def test_a_finished_run_is_sent_later(tiny_store: TinyStore, untracked: RunFolder, tmp_path: Path) -> None:
    before = untracked.status.stat().st_mtime_ns
    begin = time.monotonic()
    assert train(untracked, tiny_store.options(track=(f"tensorboard:{tmp_path}",))) == read_json(untracked.result)
    assert time.monotonic() - begin < 60
    curves, _ = tensorboard_curves(tmp_path / untracked.id)
    assert [step for step, _ in curves["loss/total"]] == [1, 2, 3, 4]
    assert untracked.status.stat().st_mtime_ns == before
