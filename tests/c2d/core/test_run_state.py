"""Alive, dead or stale: the attempt, the plan of a sweep and the reports decide alike."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analysis.loading.cache import Cache
from analysis.loading.run_row import read_run_row
from c2d.core import run_state
from c2d.core.job_file import Job, has_launcher_ended, is_launcher_alive
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.run_state import (
    HEARTBEAT_LIMIT_S,
    START_TOLERANCE_S,
    Liveness,
    is_process_alive,
    liveness,
    lock_owner,
    process_start,
)
from sweeps.state.run_facts import RunFacts
from sweeps.state.state_rules import decide

HERE = socket.gethostname()
NO_PROCESS = 2**22 + 1
NOW = time.time()


def stamp(ago_s: float) -> str:
    return datetime.fromtimestamp(NOW - ago_s, UTC).isoformat(timespec="seconds")


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        ({"host": HERE, "pid": os.getpid(), "heartbeat": stamp(0)}, "alive", ""),
        ({"host": HERE, "pid": NO_PROCESS, "heartbeat": stamp(0)}, "dead", f"its process (pid {NO_PROCESS}) is gone"),
        ({"host": "node3", "pid": NO_PROCESS, "heartbeat": stamp(0)}, "alive", ""),
        ({"host": "node3", "pid": os.getpid(), "heartbeat": stamp(720)}, "stale", "no heartbeat for 12 min"),
        ({"host": HERE, "heartbeat": stamp(0)}, "alive", ""),
        ({"host": HERE, "heartbeat": stamp(HEARTBEAT_LIMIT_S + 60)}, "stale", "no heartbeat for 6 min"),
        ({"host": HERE, "pid": os.getpid()}, "stale", "no heartbeat was recorded"),
        ({"host": HERE, "pid": os.getpid(), "heartbeat": "soon"}, "stale", "no heartbeat was recorded"),
    ],
)
def test_liveness(status: dict[str, Any], state: str, reason: str) -> None:
    found = liveness(status, NOW)
    assert (found.state, found.reason) == (state, reason)


def test_a_process_that_hangs_is_stale_and_keeps_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _running(tmp_path, os.getppid(), ago_s=2 * HEARTBEAT_LIMIT_S)
    monkeypatch.setattr(run_state, "process_start", lambda pid: 0.0)
    assert liveness(run.read_status(), NOW) == Liveness("stale", "no heartbeat for 10 min", process_exists=True)
    assert lock_owner(run) is not None


def _running(runs: Path, pid: int, ago_s: float = 0.0) -> RunFolder:
    run = RunFolder(runs / "net-icod-0123456789ab-s0")
    facts = {"iteration": 3, "iterations": 9, "attempt": 1, "host": HERE, "pid": pid, "heartbeat": stamp(ago_s)}
    run.path.mkdir()
    run.lock.touch()  # before the status, as an attempt does
    atomic_write_json(run.status, {"format": 1, "state": "running", **facts})
    (run.path / "spec.json").write_bytes(SPEC.read_bytes())
    return run


SPEC = next((Path(__file__).parents[2] / "fixtures" / "runs").glob("*-s0/spec.json"))


@pytest.mark.parametrize("case", ["alive", "reused", "gone"])
def test_attempt_plan_and_report_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """A living process of another program that started after the heartbeat is not the writer, and all three know it."""
    run = _running(tmp_path, NO_PROCESS if case == "gone" else os.getppid())
    later = NOW + 60 if case == "reused" else 0.0
    monkeypatch.setattr(run_state, "process_start", lambda pid: later)
    plan = decide(RunFacts(run, run.read_status(), None, None, False, NOW))
    report = read_run_row(tmp_path, run.id, Cache(), NOW).values
    if case == "alive":
        assert lock_owner(run) is not None
        assert (plan.state, report["state"]) == ("running", "running")
        return
    assert lock_owner(run) is None
    assert plan[:4] == ("waiting", "killed, iteration 3 of 9; continues from its checkpoint", True, None)
    assert report["state"] == "stale"
    assert report["reason"] == f"stale: iteration 3 of 9, its process (pid {run.read_status()['pid']}) is gone"


def test_a_launcher_with_a_reused_pid_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(sweep="s", where="local", state="submitted", name="n", host=HERE, pid=os.getppid(), submitted=stamp(0))
    monkeypatch.setattr(run_state, "process_start", lambda pid: NOW - 60)
    assert (is_launcher_alive(job), has_launcher_ended(job, NOW)) == (True, False)
    monkeypatch.setattr(run_state, "process_start", lambda pid: NOW + 60)
    assert (is_launcher_alive(job), has_launcher_ended(job, NOW)) == (False, True)
    other = job.model_copy(update={"host": "node3", "folder": str(tmp_path)})
    assert not has_launcher_ended(other, NOW)  # no file that it touches: nothing is known
    (tmp_path / "alive").touch()
    os.utime(tmp_path / "alive", (NOW, NOW))  # this module may have been imported minutes before
    assert not has_launcher_ended(other, NOW)
    assert has_launcher_ended(other, NOW + 2 * HEARTBEAT_LIMIT_S)


def test_the_own_process_is_alive_and_started_before_now() -> None:
    started = process_start(os.getpid())
    assert started is not None
    assert time.time() - 86400 < started < time.time() + START_TOLERANCE_S
    assert is_process_alive(os.getpid(), time.time())


@pytest.mark.parametrize("pid", [NO_PROCESS, 0, -1, None, "12", True, 2**80])
def test_invalid_pids(pid: Any) -> None:
    assert not is_process_alive(pid, time.time())
    assert process_start(NO_PROCESS) is None


def test_a_process_that_started_after_the_stamp_is_another_one() -> None:
    started = process_start(os.getpid())
    assert started is not None
    assert not is_process_alive(os.getpid(), started - START_TOLERANCE_S - 1)
    assert is_process_alive(os.getpid(), started)
    assert is_process_alive(os.getpid(), None)  # no stamp: the pid decides


def test_without_proc_the_pid_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_state, "PROC", tmp_path)
    assert process_start(os.getpid()) is None
    assert is_process_alive(os.getpid(), 0.0)


def test_a_name_with_brackets_does_not_shift_the_fields(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    ticks = 50 * os.sysconf("SC_CLK_TCK")
    (tmp_path / "7" / "stat").write_text(f"7 (a) b (c) S {' '.join(['0'] * 18)} {ticks} 0 0\n")
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1000\n")
    monkeypatch.setattr(run_state, "PROC", tmp_path)
    assert process_start(7) == 1050.0
