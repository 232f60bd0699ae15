"""No other code runs where a run's own code is missing or altered: the check alone, in the batch script, in the job."""

from __future__ import annotations

import functools
import operator
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from c2d.core.errors import RunError
from c2d.core.failure_classes import FAILURE_CLASSES
from c2d.core.job_file import read_attempts
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.store_folder import RunStore
from sweeps.definition.profile import Profile
from sweeps.launchers.arrays import JobArray
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.slurm import submit_array
from sweeps.launchers.snapshot import snapshot_folder, take_snapshot
from sweeps.launchers.submission import write_folders
from sweeps.node.job import check_own_code
from sweeps.node.verify_snapshot import record_code_failure, snapshot_problem
from sweeps.state.failed_attempts import class_of_row
from tests.sweeps.fake_slurm.control import FakeSlurm
from tests.sweeps.state.test_plan import plan_row

pytest.importorskip("submitit")

SOURCE = "c2d/core/errors.py"


def empty(path: Path) -> None:
    path.chmod(0o644)  # a snapshot is read-only
    path.write_text("")


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda place: (place / "snapshot.json").unlink(), "snapshot.json is missing"),
    (lambda place: place.rename(place.with_name("away")), "snapshot.json is missing"),
    (lambda place: (place / "snapshot.json").write_text("{"), "cannot be read"),
    (lambda place: (place / "snapshot.json").write_text('{"digest": "0"}'), "has digest 0, submitted was"),
    (lambda place: (place / SOURCE).unlink(), "has been altered: its content has digest"),
    (lambda place: (place / "torch.py").write_text("raise SystemExit"), "has been altered"),
    (lambda place: empty(place / SOURCE), "has been altered"),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_change_of_the_code_is_named(tmp_path: Path, number: int) -> None:
    change, words = CHANGES[number]
    digest = take_snapshot(tmp_path)
    place = snapshot_folder(tmp_path, digest)
    (place / "c2d" / "__pycache__").mkdir()
    (place / "c2d" / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    assert snapshot_problem(place, digest) == ""
    change(place)
    assert words in snapshot_problem(place, digest)
    assert take_snapshot(tmp_path) == digest  # the next launch writes it again
    assert snapshot_problem(place, digest) == ""


@pytest.mark.parametrize("missing", ["snapshot.json", SOURCE])
def test_the_batch_script_stops_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """With an installed c2d that python would find (this one)."""
    FakeSlurm(tmp_path / "slurm", monkeypatch)
    runs = tmp_path / "st ore"
    run, digest = RunFolder(runs / "net-icod-0123456789ab-s0"), take_snapshot(runs)
    run.path.mkdir()
    run.spec.write_text("{}")
    task = Task(run)
    request = LaunchRequest("s", runs, tmp_path, [task], Profile(gpus=0, cpus=1, python=sys.executable), digest)
    array = JobArray("c2d-s-1", (task,))
    folder = RunStore(runs).submission("s", array.name)
    write_folders(folder, [run])
    number = submit_array([functools.partial(operator.mul, 6, 7)], array, request, "", print)
    (snapshot_folder(runs, digest) / missing).unlink()
    monkeypatch.setenv("SLURM_JOB_ID", number)
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    words = ["bash", str(folder / "submission.sh")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith(f"{run.id} failed (snapshot): the code it was submitted with cannot be used: ")
    assert not list(folder.glob("*_result.pkl"))  # the step never began
    status, (attempt,) = run.read_status(), read_attempts(run)
    assert (status["state"], status["failure_class"], status["node"]) == ("failed", "snapshot", "n7")
    assert status["reason"] in done.stdout
    assert (attempt["class"], attempt["job"], attempt["node"], attempt["requeued"]) == ("snapshot", number, "n7", False)
    row = plan_row(run)
    assert (row.state, class_of_row(row)) == ("failed", "snapshot")
    assert "--update-code" in FAILURE_CLASSES["snapshot"].suggestion


def test_a_store_that_is_not_on_the_node_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSlurm(tmp_path / "slurm", monkeypatch)
    run, digest = RunFolder(tmp_path / "runs" / "a"), take_snapshot(tmp_path / "runs")
    task = Task(run)
    request = LaunchRequest("s", tmp_path / "runs", tmp_path, [task], Profile(gpus=0, python=sys.executable), digest)
    submit_array([functools.partial(operator.mul, 6, 7)], JobArray("c2d-s-1", (task,)), request, "", print)
    script = RunStore(tmp_path / "runs").submission("s", "c2d-s-1") / "submission.sh"
    spooled = script.rename(tmp_path / "spooled.sh")
    (tmp_path / "runs").rename(tmp_path / "away")
    done = subprocess.run(["bash", str(spooled)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "the store has to be on the disk of every node" in done.stdout


def test_a_run_that_is_done_or_written_keeps_its_status(tmp_path: Path) -> None:
    done, alive, dead = (RunFolder(tmp_path / name) for name in ("done", "alive", "dead"))
    done.write_status("done")
    atomic_write_json(done.result, {})
    alive.write_status("running", attempt=1)
    dead.write_status("running", attempt=1, pid=2**22 + 1)
    for run in (done, alive, dead):
        record_code_failure(run.path, "gone")
    assert [run.read_status()["state"] for run in (done, alive, dead)] == ["done", "running", "failed"]
    assert [len(read_attempts(run)) for run in (done, alive, dead)] == [0, 0, 1]
    assert dead.read_status()["attempt"] == 1


def test_a_process_that_found_another_c2d_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("C2D_SNAPSHOT", raising=False)
    check_own_code()
    monkeypatch.setenv("C2D_SNAPSHOT", "0123456789abcdef")
    with pytest.raises(RunError, match=r"snapshot 0123456789abcdef is not on this node, python has found /") as caught:
        check_own_code()
    assert caught.value.failure_class == "snapshot"
    assert os.environ["C2D_SNAPSHOT"]
