"""One writer at a time: processes that count as alive, the records, and the status files that stay unchanged."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import SoftFileLock

from c2d.core.attempt import Interrupted, attempt, clear_dead_lock, record_build_failure
from c2d.core.disk import Unfinished, host_digest, temporary_path, unfinished
from c2d.core.errors import Busy, InputError, RunError
from c2d.core.failure_classes import classify_error
from c2d.core.run_folder import RunFolder
from c2d.core.run_state import HEARTBEAT_LIMIT_S, LOCK_LIMIT_S, is_abandoned, lock_owner

NOBODY = 2**22 + 1


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def running(folder: RunFolder, age_s: float = 0.0, **facts: Any) -> None:
    folder.lock.touch()  # before the status, as an attempt does
    folder.write_status("running", **facts)
    beat = datetime.fromtimestamp(time.time() - age_s, UTC).isoformat(timespec="seconds")
    folder.status.write_text(json.dumps(json.loads(folder.status.read_text()) | {"heartbeat": beat}))


@pytest.mark.parametrize(
    ("facts", "age_s", "alive"),
    [
        ({"pid": os.getppid()}, 1, True),
        (
            {"pid": os.getppid()},
            10 * HEARTBEAT_LIMIT_S,
            False,
        ),  # that process is younger than the heartbeat: another one
        ({"pid": NOBODY}, 1, False),
        ({"pid": NOBODY, "host": "another"}, 1, True),
        ({"pid": NOBODY, "host": "another"}, HEARTBEAT_LIMIT_S + 5, False),
    ],
)
def test_processes_that_are_alive(
    folder: RunFolder, facts: dict[str, Any], age_s: float, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if age_s > HEARTBEAT_LIMIT_S and facts["pid"] != NOBODY:
        age_s = time.time()  # longer ago than any process here has lived
    running(folder, age_s, **facts)
    assert (lock_owner(folder) is not None) == alive
    if alive:
        with pytest.raises(Busy, match=r"is being written by pid \d+ on"), attempt(folder, quiet=True):
            pytest.fail("two writers")
    else:
        with attempt(folder, quiet=True):
            assert folder.read_status()["pid"] == os.getpid()
    assert folder.lock.exists() == alive


@pytest.mark.parametrize("state", ["waiting", "done"])
def test_a_lock_without_an_explanation_does_not_block_for_ever(folder: RunFolder, state: str) -> None:
    """Its owner was killed between taking it and saying so, or between saying how it ended and letting go."""
    folder.write_status(state)
    folder.lock.touch()
    assert lock_owner(folder) is not None
    for path in (folder.lock, folder.status):
        os.utime(path, (time.time() - LOCK_LIMIT_S - 1,) * 2)
    assert lock_owner(folder) is None
    with attempt(folder, quiet=True):
        pass
    assert not folder.lock.exists()


def test_no_process_writes_a_run_without_a_lock(folder: RunFolder) -> None:
    assert lock_owner(folder) is None
    folder.write_status("running", host="another")
    assert lock_owner(folder) is None


def test_a_locked_run_is_an_input_error(folder: RunFolder) -> None:
    running(folder, pid=os.getppid())
    with pytest.raises(InputError, match="wait for it, or remove") as caught, attempt(folder, quiet=True):
        pass
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ImportError("cannot import name x"), "import"),
        (ModuleNotFoundError("No module named 'x'"), "import"),
        (MemoryError(), "host-oom"),
        (KeyError("x"), "user-code"),
        (InputError("x"), "config"),
        (RunError("x", "disk"), "disk"),
        (type("DistBackendError", (RuntimeError,), {})("NCCL"), "hang"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "cuda-oom"),
    ],
)
def test_classes(folder: RunFolder, error: Exception, kind: str) -> None:
    assert classify_error(error) == kind
    with pytest.raises((RunError, InputError)), attempt(folder, quiet=True):
        raise error
    assert folder.read_status()["failure_class"] == kind


def test_an_import_error_while_building_is_recorded(folder: RunFolder) -> None:
    with pytest.raises(RunError) as caught, record_build_failure(folder):
        raise ImportError("undefined symbol")
    assert caught.value.failure_class == "import"
    assert folder.read_status()["failure_class"] == "import"


def test_a_failed_build_keeps_the_status_of_a_run_of_another_process(folder: RunFolder) -> None:
    running(folder, host="another")
    before = folder.status.read_bytes()
    with pytest.raises(RunError), record_build_failure(folder):
        raise KeyError("mine")
    assert folder.status.read_bytes() == before


def test_a_stop_names_its_signal(folder: RunFolder) -> None:
    with pytest.raises(Interrupted), attempt(folder, quiet=True):
        raise Interrupted("interrupted by SIGUSR2; call again to continue", by="SIGUSR2")
    status = folder.read_status()
    assert (status["state"], status["reason"]) == ("waiting", "interrupted by SIGUSR2; call again to continue")


def test_cpu_seconds_add_up_over_attempts_and_are_unknown_after_one_without_them(folder: RunFolder) -> None:
    for _ in range(2):
        with attempt(folder, quiet=True):
            sum(range(2_000_000))
    done = folder.read_status()
    assert 0 < done["cpu_before_s"] < done["cpu_s"]
    without = {key: value for key, value in done.items() if key not in ("cpu_s", "cpu_before_s")}
    folder.status.write_text(json.dumps(without))  # of an earlier version
    with attempt(folder, quiet=True):
        pass
    assert folder.read_status()["cpu_s"] is None
    assert folder.read_status()["elapsed_s"] > 0


def test_one_writer_when_both_start_together(folder: RunFolder) -> None:
    with attempt(folder, quiet=True):
        assert lock_owner(folder) == f"pid {os.getpid()} on {socket.gethostname()} (heartbeat {_beat(folder)})"
        with pytest.raises(Busy), attempt(folder, quiet=True):
            pass
        with pytest.raises(TimeoutError):
            SoftFileLock(folder.lock).acquire(timeout=0)
    assert folder.read_status()["state"] == "done"


def _beat(folder: RunFolder) -> str:
    return str(folder.read_status()["heartbeat"])


def test_temporary_files_of_a_killed_attempt_are_removed(folder: RunFolder) -> None:
    folder.checkpoints.mkdir()
    dead = [folder.path / ".status.json.ab12_xyz", folder.checkpoints / ".iter_00000004.pth.0123abcd"]  # earlier names
    dead += [temporary_path(folder.student), folder.checkpoints / ".iter_00000004.pth.0a1b2c-7-00112233.tmp"]
    dead += [folder.ranks / f".0.json.{host_digest()}-{2**22 + 1}-00112233.tmp"]
    kept = [folder.path / ".job.json.ab12_xyz", folder.path / ".notes.markdown", folder.checkpoint(2)]
    kept += [temporary_path(folder.job), temporary_path(folder.ranks / "1.json"), temporary_path(folder.latency / "a")]
    folder.ranks.mkdir()
    folder.latency.mkdir()
    for path in (*dead, *kept):
        path.write_text("half")
    with attempt(folder, quiet=True):
        pass
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in kept)


def test_a_log_that_cannot_be_written_is_one_line_and_leaves_no_lock(folder: RunFolder) -> None:
    folder.log.mkdir()
    with pytest.raises(RunError, match=r"cannot write .*log\.txt: Is a directory"), attempt(folder, quiet=True):
        raise AssertionError("the attempt began")
    assert not folder.lock.exists()


def test_a_full_disk_under_the_log_is_one_warning_and_leaves_no_lock(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.log.symlink_to("/dev/full")
    with attempt(folder, quiet=True) as log:
        log.info("first")
        log.info("second")
    assert not folder.lock.exists()
    assert folder.read_status()["state"] == "done"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: cannot write {folder.log}: ")
    assert line.endswith("No space left on device")


SLOW_WRITER = """
import os, sys, time
from pathlib import Path
from c2d.core.attempt import attempt
from c2d.core.run_folder import RunFolder, atomic_write_bytes
folder = RunFolder(Path(sys.argv[1]))
with attempt(folder, quiet=True):
    os.fsync = lambda handle: time.sleep(600)
    atomic_write_bytes(folder.checkpoint(4), b"half")
"""


def test_what_a_writer_killed_in_the_middle_left_is_removed_by_the_next_attempt(folder: RunFolder) -> None:
    command = [sys.executable, "-c", SLOW_WRITER, str(folder.path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as writer:
        deadline = time.monotonic() + 60
        try:
            while not (left := list(folder.checkpoints.glob(".*"))) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not is_abandoned(left[0], time.time())
        finally:
            writer.kill()
    assert not folder.checkpoint(4).exists()
    assert [unfinished(path.name) for path in left] == [
        Unfinished(folder.checkpoint(4).name, host_digest(), writer.pid)
    ]
    assert is_abandoned(left[0], time.time())
    with attempt(folder, quiet=True):
        assert not left[0].exists()
    assert not [path.name for path in folder.path.rglob(".*")]


def test_who_has_just_taken_over_a_dead_lock_owns_it(folder: RunFolder) -> None:
    """A second process that came a moment later read the dead one's status, and removed the new lock."""
    running(folder, 1, pid=NOBODY)
    os.utime(folder.status, (time.time() - 5, time.time() - 5))
    folder.lock.unlink()
    with SoftFileLock(folder.lock):  # its owner has not yet written a status
        assert lock_owner(folder) is not None
        clear_dead_lock(folder)
        assert folder.lock.exists()
        with pytest.raises(Busy, match="is being written by"), attempt(folder, quiet=True):
            raise AssertionError("the attempt began")
    folder.lock.write_text("77\nanother\n")  # a host whose processes cannot be seen
    assert lock_owner(folder) is not None
    os.utime(folder.lock, (time.time() - LOCK_LIMIT_S - 5, time.time() - LOCK_LIMIT_S - 5))
    os.utime(folder.status, (time.time() - LOCK_LIMIT_S - 9, time.time() - LOCK_LIMIT_S - 9))
    assert lock_owner(folder) is None


def test_a_lock_that_was_taken_over_meanwhile_is_put_back(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    running(folder, 1, pid=NOBODY)
    mine = SoftFileLock(folder.lock)

    def judge_slowly(*_: object) -> bool:
        folder.lock.unlink()
        mine.acquire(timeout=0)
        return True

    monkeypatch.setattr("c2d.core.attempt.is_lock_dead", judge_slowly)
    clear_dead_lock(folder)
    assert f"{os.getpid()}\n" in folder.lock.read_text()
    mine.release()
    assert [path.name for path in folder.path.iterdir()] == ["status.json"]
