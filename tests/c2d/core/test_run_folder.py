"""Run folders: whole files or none, and a status that others can read."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from c2d.core import run_folder
from c2d.core.errors import InputError, RunError
from c2d.core.run_folder import RunFolder, atomic_write_bytes, atomic_write_json, atomic_write_json_gz, read_json
from c2d.core.store_folder import RunStore


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    atomic_write_json(path, {"AP": 0.5})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        RunError, match=r"cannot write .*result.json: No space left on device \(.* free in .*\); free some"
    ) as caught:
        atomic_write_json(path, {"AP": 0.6})
    assert caught.value.failure_class == "disk"
    assert read_json(path) == {"AP": 0.5}
    assert os.listdir(tmp_path) == ["result.json"]


def test_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic_write_json(tmp_path / "x.json", {"AP": float("nan")})
    assert os.listdir(tmp_path) == []


def test_compressed_json_is_deterministic_and_exact(tmp_path: Path) -> None:
    scores = [0.1 + 0.2, 1 / 3, 1e-17]
    for name in ("a", "b"):
        atomic_write_json_gz(tmp_path / f"{name}.json.gz", scores)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert read_json(tmp_path / "a.json.gz") == scores


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spec.json"
    atomic_write_bytes(path, content)
    with pytest.raises(InputError, match=r"spec.json is not valid JSON"):
        read_json(path)
    with pytest.raises(InputError, match="no file"):
        read_json(tmp_path / "absent.json")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    atomic_write_json_gz(path, list(range(1000)))
    whole = path.read_bytes()
    for damaged in (whole[:40], whole[:30] + b"\xff" * 20 + whole[50:], b"nonsense"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.json\.gz (is not a complete gzip file|cannot be read)"):
            read_json(path)


def test_status_keeps_facts_and_renews_the_heartbeat(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.read_status() == {"state": "waiting", "attempt": 0}
    folder.write_status("running", attempt=1, iteration=5)
    folder.write_status("running", iteration=6)
    status = json.loads(folder.status.read_text())
    assert (status["state"], status["attempt"], status["iteration"], status["pid"]) == ("running", 1, 6, os.getpid())
    assert status["heartbeat"].endswith("+00:00")
    with pytest.raises(ValueError, match="none of"):
        folder.write_status("sleeping")


def test_shared_files_lie_beside_the_runs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "one")
    assert RunStore(folder.path.parent).targets("d" * 4) == tmp_path / "runs" / "targets" / "dddd.json.gz"
    assert folder.checkpoint(12).name == "iter_00000012.pth"


def test_seconds_of_all_attempts_are_counted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    now = time.time()
    folder.write_status("running", attempt=1, begun=now - 10, elapsed_before_s=0.0)
    assert folder.read_status()["elapsed_s"] == pytest.approx(10, abs=1)
    folder.write_status("running", attempt=2, begun=now - 5, elapsed_before_s=folder.read_status()["elapsed_s"])
    folder.write_status("done")
    assert folder.read_status()["elapsed_s"] == pytest.approx(15, abs=2)


def test_cpu_seconds_are_those_of_the_process_and_not_of_its_waits(tmp_path: Path) -> None:
    """A third of a second of work in this process, as much in a child that has ended, and a wait of both."""
    work = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ntime.sleep(0.5)"
    folder = RunFolder(tmp_path / "run")
    folder.write_status("running", attempt=2, begun=round(time.time(), 3), elapsed_before_s=9.0, cpu_before_s=5.0)
    exec(work, {})
    subprocess.run([sys.executable, "-S", "-c", work], check=True)
    folder.write_status("running", stage="fit")
    found = folder.read_status()
    assert found["cpu_s"] > 5.6 - 0.05
    waits_s = 2 * 0.5
    assert found["cpu_s"] - 5.0 <= found["elapsed_s"] - 9.0 - waits_s + 0.05


def test_another_process_does_not_count_its_own_cpu_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_status("running", attempt=1, begun=round(time.time(), 3), elapsed_before_s=0.0, cpu_before_s=5.0)
    before = folder.read_status()["cpu_s"]
    monkeypatch.setattr(run_folder, "_OWN_BEGIN", {})
    folder.write_status("failed")
    assert folder.read_status()["cpu_s"] == before


def test_the_names_of_the_files_of_a_run() -> None:
    run = RunFolder(Path("runs/a"))
    paths = (run.spec, run.status, run.result, run.env, run.metrics, run.log, run.detections, run.latency)
    assert [path.relative_to(run.path).as_posix() for path in (*paths, run.job, run.attempts)] == [
        "spec.json", "status.json", "result.json", "env.json", "metrics.jsonl", "log.txt", "detections.json.gz",
        "latency", "job.json", "attempts.jsonl",
    ]  # fmt: skip


def test_a_clock_that_is_set_forward_makes_no_run_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class AnHourLater(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(hours=1)

    folder = RunFolder(tmp_path)
    folder.write_status("running", attempt=1, begun=round(time.time(), 3), elapsed_before_s=5.0)
    monkeypatch.setattr(run_folder, "datetime", AnHourLater)
    folder.write_status("running", stage="fit")
    assert 5.0 <= folder.read_status()["elapsed_s"] < 25.0
    monkeypatch.setattr(run_folder, "_OWN_BEGIN", {})  # of another process there is the clock alone
    folder.write_status("failed")
    assert folder.read_status()["elapsed_s"] > 3600.0
