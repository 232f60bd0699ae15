"""Each tracker against its real package: what its own reader finds after one attempt, and after a kill and a resume."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from c2d.core.job_file import append_attempt
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from c2d.tracking import wandb_tracker
from c2d.tracking.tensorboard_tracker import TensorBoardTracker
from c2d.tracking.tracked_run import read_tracked_run
from c2d.tracking.tracker import Point
from c2d.tracking.tracker_option import TrackerOption
from c2d.tracking.wandb_tracker import WandbTracker
from tests.c2d.tracking.read_back import mlflow_curves, mlflow_runs, tensorboard_curves, wandb_file
from tests.c2d.tracking.tracked_folder import ID, begin_attempt, new_run, track
from tests.test_arrows import ROOT

SIX = [(step, float(step)) for step in range(1, 7)]
VAL = [(2, pytest.approx(0.2)), (4, pytest.approx(0.4))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("MLFLOW_ALLOW_FILE_STORE", "true"), ("MLFLOW_DISABLE_TELEMETRY", "true")):
        monkeypatch.setenv(name, value)
    hooks = sys.exit, sys.excepthook
    yield new_run(tmp_path / "runs")
    assert (sys.exit, sys.excepthook) == hooks  # W&B replaces both


def three_attempts(folder: RunFolder, tracker: str) -> list[str]:
    """Killed at 5 after a checkpoint at 3; preempted at 4, with its state saved; finished."""
    lost = [track(folder, tracker, 0, range(1, 6), "running", kill=True)]
    append_attempt(folder, **{"class": "killed"}, job="70", iteration=3, requeued=True)
    begin_attempt(folder, "70", "1")
    lost.append(track(folder, tracker, 3, range(4, 5), "waiting", reason="interrupted by SIGTERM"))
    begin_attempt(folder, "71")
    lost.append(track(folder, tracker, 4, range(5, 7), "done", stage="done"))
    return lost


def check_tags(tags: dict[str, Any]) -> None:
    wanted = {
        "run_id": ID, "state": "finished", "seed": "3", "commit": f"{'f' * 40}-dirty", "host": "n1", "method": "icod",
        "slurm_jobs": "70, 70 (restart 1), 71", "ended_attempts": "killed at 3 in job 70, requeued", "attempts": "3",
    }  # fmt: skip
    assert {key: tags.get(f"c2d.{key}") for key in wanted} == wanted


def test_tensorboard_shows_each_step_once(folder: RunFolder) -> None:
    assert three_attempts(folder, "tensorboard") == ["", "", ""]
    place = folder.path.parent / "tracking" / "tensorboard" / ID
    curves, texts = tensorboard_curves(place)
    assert curves["loss/total"] == SIX
    assert curves["val/AP"] == VAL
    assert curves["result/AP"] == [(6, 0.25)]
    assert {"kd/loss_icod_cls", "kd/icod_cls_raw", "loss/cls", "train/lr", "train/step_s"} <= set(curves)
    assert "result/tide/Cls" not in curves  # no chart of one point; it is in the table
    assert "| result/tide/Cls | 0.125 |" in texts["result/numbers"]
    assert r"| a\|b |  | 0 |" in texts["result/per_class"]
    assert '| method.icod.layers | ["crop", "l0"] |' in texts["run/spec"]
    assert "| slurm_jobs | 70, 70 (restart 1), 71 |" in texts["run/tags"]
    assert len(list(place.iterdir())) == 1


def test_tensorboard_discards_what_a_killed_attempt_left(folder: RunFolder) -> None:
    """Also where files of earlier attempts stay, as for a TensorBoard that has read them."""
    track(folder, "tensorboard", 0, range(1, 6), "running", kill=True)
    place = folder.path.parent / "tracking" / "tensorboard" / ID
    (old,) = place.iterdir()
    copy = old.read_bytes()
    track(folder, "tensorboard", 3, range(4, 7), "done")
    old.write_bytes(copy)
    curves, _ = tensorboard_curves(place)
    assert curves["loss/total"] == SIX


class FullDisk:
    """A file that takes `room` bytes more, as on a disk that becomes full within a write."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        taken = int(self.file.write(data[: self.room]))
        self.room -= taken
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_a_full_disk_leaves_files_of_tensorboard_readable(folder: RunFolder) -> None:
    store = RunStore(folder.path.parent)
    tracker = TensorBoardTracker(TrackerOption("tensorboard"), store)
    tracker.open(read_tracked_run(folder))
    tracker.log([Point(1, 1.0, {"loss/total": 1.0})])
    file = tracker._file
    tracker._file = FullDisk(file, room=20)
    with pytest.raises(OSError, match="No space left"):
        tracker.log([Point(2, 2.0, {"loss/total": 2.0})])
    tracker._file = file  # somebody frees space
    tracker.log([Point(3, 3.0, {"loss/total": 3.0})])
    curves, _ = tensorboard_curves(store.tracking / "tensorboard" / ID)
    assert curves["loss/total"] == [(1, 1.0), (3, 3.0)]


def test_wandb_reports_a_full_disk(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own process keeps quiet about one."""
    monkeypatch.setattr(wandb_tracker, "LEAST_FREE_BYTES", 2**62)
    store = RunStore(folder.path.parent)
    store.tracking.mkdir()
    with pytest.raises(OSError, match="No space left"):
        WandbTracker(TrackerOption("wandb"), store).log([])


def test_mlflow_finds_its_run_again(folder: RunFolder) -> None:
    assert three_attempts(folder, "mlflow") == ["", "", ""]
    uri = (folder.path.parent / "tracking" / "mlflow").as_uri()
    (run,) = mlflow_runs(uri)
    curves = mlflow_curves(uri, run)
    assert curves["loss/total"] == SIX
    assert curves["val/AP"] == VAL
    assert curves["result/AP"] == [(6, 0.25)]
    assert curves["result/voc/AP50_voc"] == [(6, 0.75)]
    assert run.info.status == "FINISHED"
    assert run.info.run_name == ID
    assert run.data.params["schedule.values.optimizer.lr"] == "0.01"
    check_tags(run.data.tags)


@pytest.mark.parametrize(
    ("state", "facts", "status"),
    [("failed", {"reason": "nan at 5", "failure_class": "nan"}, "FAILED"), ("waiting", {"reason": "TERM"}, "KILLED")],
)
def test_mlflow_has_the_state_of_a_failure(folder: RunFolder, state: str, facts: dict[str, Any], status: str) -> None:
    track(folder, f"mlflow:{folder.path.parent / 'elsewhere'}", 0, range(1, 3), state, **facts)
    (run,) = mlflow_runs((folder.path.parent / "elsewhere").as_uri())
    assert run.info.status == status
    assert run.data.tags.get("c2d.failure_class") == facts.get("failure_class")


def test_wandb_keeps_one_offline_run(folder: RunFolder) -> None:
    assert three_attempts(folder, "wandb:papers") == ["", "", ""]
    (path,) = (folder.path.parent / "tracking" / "wandb").glob("offline-run-*/*.wandb")
    found = wandb_file(path)
    assert (found.id, found.project, found.exit_code) == (ID, "papers", 0)
    assert found.curves["loss/total"] == SIX
    assert found.curves["val/AP"] == VAL
    assert found.summary["result/AP"] == 0.25
    assert found.summary["result/tide/Cls"] == 0.125
    assert found.config["method.icod.T"] == 2
    check_tags(found.config)


def test_wandb_says_that_a_run_was_preempted(folder: RunFolder) -> None:
    track(folder, "wandb", 0, range(1, 3), "waiting", reason="interrupted by SIGTERM")
    (path,) = (folder.path.parent / "tracking" / "wandb").glob("offline-run-*/*.wandb")
    found = wandb_file(path)
    assert found.preempting
    assert found.exit_code == 1
    assert found.project == "c2d"


HANG = """
import os, signal, sys, time
from pathlib import Path
from c2d.tracking import tracking
from c2d.tracking.tracker_option import parse_trackers
from c2d.tracking.wandb_tracker import _children
from tests.c2d.tracking.tracked_folder import new_run, train_event, end_run

tracking.FINISH_S = 1.0
folder = new_run(Path(sys.argv[1]))
with tracking.Tracking(folder, parse_trackers(["wandb"])) as track:
    track.start()
    track.continue_after(0)
    track.send(train_event(1))
    while not list(folder.path.parent.glob("tracking/wandb/*/*.wandb")):
        time.sleep(0.05)
    pids = _children("wandb-core")
    os.kill(pids[0], signal.SIGSTOP)  # it answers no more
    begin = time.monotonic()
    track.send(train_event(2))
    assert time.monotonic() - begin < 10
    end_run(folder, "done")
print("PID", pids[0], time.monotonic() - begin)
"""


def _is_killed(pid: int) -> bool:
    """Whether a process is gone, or waits for its parent to take note, which init does when it has time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_process_of_wandb_that_hangs_delays_no_exit(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", HANG, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("PID"))
    assert float(line.split()[2]) < 10
    assert "did not return in time" in done.stdout
    assert _is_killed(int(line.split()[1]))
    assert "--track wandb" in (tmp_path / ID / "log.txt").read_text()
