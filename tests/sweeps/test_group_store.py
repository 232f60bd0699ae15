"""A store of a group: files have the mode that umask gives and the group of their folder, and a colleague goes on."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from c2d.core.disk import make_draft_folder
from c2d.core.job_file import append_attempt
from c2d.core.run_folder import RunFolder, atomic_write_bytes, atomic_write_json
from sweeps.actions.workspace import submission_lock
from sweeps.definition.profile import Profile
from sweeps.launchers import snapshot
from tests.sweeps.fake_slurm.control import FakeSlurm
from tests.sweeps.test_cli import Shell

pytest.importorskip("submitit")
GROUP = 54_321


@pytest.fixture(params=[0o002, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_folders_have_the_mode_of_the_umask(tmp_path: Path, umask: int) -> None:
    run = RunFolder(tmp_path / "run")
    atomic_write_json(run.spec, {})
    run.write_status("waiting")
    atomic_write_bytes(run.checkpoint(1), b"weights")
    append_attempt(run, **{"class": "killed"})
    for path in (run.spec, run.status, run.checkpoint(1), run.attempts):
        assert mode(path) == 0o666 & ~umask, path
    assert mode(run.checkpoints) == 0o777 & ~umask
    assert mode(make_draft_folder(tmp_path / "set")) == 0o777 & ~umask
    atomic_write_json(tmp_path / "secret.json", {}, private=True)
    assert mode(tmp_path / "secret.json") == 0o600


@pytest.mark.parametrize("umask", [0o027], indirect=True, ids=oct)
def test_everything_that_a_submission_writes(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with setgid, as stores of groups are; code is read-only."""
    shell = Shell(tmp_path, FakeSlurm(tmp_path / "slurm", monkeypatch))
    shell.runs.mkdir()
    if os.geteuid() == 0:
        os.chown(shell.runs, 0, GROUP)
    shell.runs.chmod(0o2770)
    group = shell.runs.stat().st_gid
    shell.submit()
    found = [path for path in shell.runs.rglob("*") if not path.is_symlink()]
    assert len(found) > 100
    for path in found:
        assert path.stat().st_gid == group, path
        if path.is_dir():
            assert mode(path) == 0o2777 & ~umask, path
        elif "snapshots" in path.parts and path.name != "snapshot.json":
            assert mode(path) == 0o444 & ~umask, path
        else:
            assert mode(path) in (0o666 & ~umask, 0o600), path
    private = [path.name for path in found if path.is_file() and mode(path) == 0o600]
    assert private == []


def as_user(user: int, work: Callable[[], object]) -> int:
    """Run `work` in a child with this user, the group of the store and umask 002; return the exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([GROUP])
            os.setgid(user)
            os.setuid(user)
            os.umask(0o002)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as two users")
def test_a_colleague_continues_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """One user writes with umask 002, another one of the group writes the same files and removes them."""
    monkeypatch.setattr(snapshot, "_content", lambda: {"c2d/code.py": b"1"})  # the checkout may be closed to them
    monkeypatch.setattr(snapshot, "_git", lambda: None)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        store = Path(folder) / "runs"
        store.mkdir()
        os.chown(store, 0, GROUP)
        store.chmod(0o2775)
        run = RunFolder(store / "run")

        def begin() -> None:
            atomic_write_json(run.spec, {})
            run.write_status("failed")
            append_attempt(run, **{"class": "killed"})
            with submission_lock(store):
                snapshot.take_snapshot(store)

        def go_on() -> None:
            run.write_status("waiting")
            append_attempt(run, **{"class": "killed"})
            atomic_write_bytes(run.checkpoint(1), b"weights")
            with submission_lock(store):
                shutil.rmtree(snapshot.snapshot_folder(store, snapshot.take_snapshot(store)))
            shutil.rmtree(run.path)

        assert as_user(40_001, begin) == 0
        assert run.status.stat().st_uid == 40_001
        assert as_user(40_002, go_on) == 0
        assert not run.path.exists()
        assert list((store / "snapshots").iterdir()) == []


def test_a_profile_with_a_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    from sweeps.definition.profile import store_profile

    store_profile(tmp_path, "demo", Profile(name="p", environment={"WANDB_API_KEY": "abc"}))
    (stored,) = tmp_path.rglob("profile-*.json")
    assert mode(stored) == 0o600
