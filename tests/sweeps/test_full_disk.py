"""A store on a full disk and on a read-only one: a real small tmpfs, filled to its last byte."""

from __future__ import annotations

import json
import os
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from c2d.core.disk import DiskError
from c2d.core.run_folder import RunFolder
from sweeps.actions import workspace
from sweeps.cli import app
from sweeps.scheduler import array_file
from tests.sweeps.fake_slurm.control import FakeSlurm
from tests.sweeps.test_cli import Shell

pytest.importorskip("submitit")
MIB = 2**20


def mount(*words: str) -> None:
    done = subprocess.run(["/usr/bin/env", "mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is not permitted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["/usr/bin/env", "umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def shell(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    made = Shell(tmp_path, FakeSlurm(tmp_path / "slurm", monkeypatch))
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/bin:/bin")
    made.runs = disk / "runs"
    return made


def fill(disk: Path) -> Path:
    """Fill the disk to its last byte."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as stream:
        for size in (MIB, 4096, 1):
            try:
                while stream.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
    assert os.statvfs(disk).f_bavail == 0
    return filler


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_of(shell: Shell, *words: str) -> str:
    result = CliRunner().invoke(app, [words[0], str(shell.definition), "--runs", str(shell.runs), *words[1:]])
    assert isinstance(result.exception, DiskError), result.output + str(result.exception)
    assert "\n" not in str(result.exception)
    return str(result.exception)


def submit_words(shell: Shell) -> tuple[str, ...]:
    return ("submit", "--where", "slurm", "--no-forward", "--data", str(shell.data))


def test_a_full_disk_is_one_line_and_nothing_half_done(shell: Shell, disk: Path) -> None:
    shell.runs.mkdir()
    filler = fill(disk)
    message = error_of(shell, *submit_words(shell))
    assert message.startswith(
        f"cannot write {shell.runs}/sweeps/.submission.lock: No space left on device (0.0 of 8.0 MiB"
    )
    assert "free some space there (`c2d sweep gc` lists old files), or give another folder with --runs" in message
    assert files(shell.runs) == {}
    assert shell.slurm.calls("sbatch") == []
    filler.unlink()
    shell.submit()
    fill(disk)
    before, jobs = files(shell.runs), shell.slurm.jobs
    assert json.loads(shell.run("status", "--json"))["counts"] == {"waiting": 6}
    assert "No space left on device" in error_of(shell, "cancel", "--yes")
    shell.slurm.change("100", state="NODE_FAIL")
    assert "No space left on device" in error_of(shell, "retry")
    assert files(shell.runs) == before
    assert len(shell.slurm.jobs) == len(jobs)


@pytest.mark.parametrize("room", [64 * 1024, 3 * MIB])
def test_a_disk_that_fills_up_during_a_submission_leaves_no_half_state(shell: Shell, disk: Path, room: int) -> None:
    """Whatever has room: after space is made, the same command submits every run once."""
    shell.runs.mkdir()
    filler = fill(disk)
    os.truncate(filler, max(0, filler.stat().st_size - room))
    result = CliRunner().invoke(app, [*submit_words(shell), str(shell.definition), "--runs", str(shell.runs)])
    submitted = sum(len(job["states"]) for job in shell.slurm.jobs.values())
    if result.exit_code:
        assert isinstance(result.exception, DiskError), result.output + str(result.exception)
    assert not [path for path in shell.runs.rglob(".*.*") if path.is_file() and path.suffix != ".lock"], "no drafts"
    filler.unlink()
    shell.submit() if submitted < 6 else None
    assert sum(len(job["states"]) for job in shell.slurm.jobs.values()) == 6
    assert json.loads(shell.run("status", "--json"))["counts"] == {"waiting": 6}


def test_a_job_whose_number_cannot_be_recorded_is_found_by_its_name(
    shell: Shell, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while sbatch works: the job is in the queue, and is neither forgotten nor submitted again."""
    real, fillers = array_file.write_array, []

    def full(*given: object, **facts: object) -> None:
        fillers.append(fill(disk))
        real(*given, **facts)  # type: ignore[arg-type]

    monkeypatch.setattr(array_file, "write_array", full)
    message = error_of(shell, *submit_words(shell))
    assert message.startswith("job 100 (2 runs) is in the queue, and its number could not be recorded: cannot write")
    monkeypatch.setattr(array_file, "write_array", real)
    fillers[0].unlink()
    shell.submit()
    assert [len(job["states"]) for job in shell.slurm.jobs.values()] == [2, 4]
    assert json.loads(shell.run("status", "--json"))["counts"] == {"waiting": 6}


def test_gc_works_on_a_full_disk(shell: Shell, disk: Path) -> None:
    shell.submit()
    run = RunFolder(next(shell.runs.glob("retinanet-r50-baseline-*")))
    run.write_status("failed", attempt=1, failure_class="nan", reason="loss is nan")
    for number in shell.slurm.jobs:
        shell.slurm.change(number, state="FAILED")
    run.checkpoints.mkdir()
    for iteration in (1, 2, 3):
        with zipfile.ZipFile(run.checkpoint(iteration), "w") as archive:  # as torch writes them
            archive.writestr("data", bytes(9000))
    old = run.path / ".result.json.0a1b2c3d"
    old.write_bytes(b"{")
    os.utime(old, (time.time() - 2 * 86_400,) * 2)
    fill(disk)
    assert "3 files and folders" in shell.run("gc", "--yes")
    assert [path.name for path in sorted(run.checkpoints.iterdir())] == [run.checkpoint(3).name]
    assert not old.exists()
    fill(disk)
    assert "No space left on device" in error_of(shell, "gc", "--yes"), "nothing is left to remove"


def test_a_read_only_store_can_be_read_and_names_the_way_out(shell: Shell, disk: Path) -> None:
    shell.submit()
    shell.slurm.change("100", state="NODE_FAIL")
    before = files(shell.runs)
    mount("-o", "remount,ro", str(disk))
    assert json.loads(shell.run("status", "--json", code=1))["counts"] == {"failed": 2, "blocked": 4}
    assert "node-failure: 2 runs" in shell.run("triage")
    for words in (submit_words(shell), ("retry",), ("gc", "--yes")):
        assert "Read-only file system; have the file system mounted writable" in error_of(shell, *words)
    assert files(shell.runs) == before
    assert "would be removed" in shell.run("gc")


def test_the_lock_is_released_where_the_body_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskError, match="cannot write here/x: No space left on device"),
        workspace.submission_lock(tmp_path),
    ):
        raise OSError(28, "No space left on device", "here/x")
    with workspace.submission_lock(tmp_path):
        pass
