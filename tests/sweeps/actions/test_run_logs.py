"""`c2d sweep logs`: which files, which attempt, which lines, and following them until the run ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from c2d.core.errors import InputError
from c2d.core.job_file import Job, write_job
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from sweeps.actions import run_logs
from sweeps.actions.follow_logs import follow
from sweeps.actions.run_logs import LogPart, attempt_parts, attempt_starts, last_lines, log_files, shown_line
from sweeps.cli import app
from sweeps.failures.log_patterns import ATTEMPT_START
from sweeps.launchers import submission
from sweeps.scheduler import array_file
from tests.sweeps.fake_slurm.control import FakeSlurm
from tests.sweeps.state.test_store_sweeps import run_id, write_run, write_sweep

BEGIN = f"{ATTEMPT_START}: x on n1, pid 1\n"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    FakeSlurm(tmp_path / "slurm", monkeypatch, commands=())
    return tmp_path / "runs"


def submitted(runs: Path, number: str, *members: str, sweep: str = "s", stamp: int = 0) -> Path:
    """A submission as the launcher leaves it, and the last launch of its runs."""
    folder = RunStore(runs).submission(sweep, f"j{number}")
    folder.mkdir(parents=True)
    found = [RunFolder(runs / run_id(name)) for name in members]
    submission.write_folders(folder, found)
    array_file.write_array(folder, name=folder.name, job=number, tasks=len(found), throttle=1)
    (folder / submission.SCRIPT).write_text("")
    os.utime(folder / submission.SCRIPT, (stamp, stamp))
    for task, run in enumerate(found):
        job = submission.job_id(number, task, len(found))
        write_job(
            run, Job(sweep=sweep, where="slurm", state="submitted", name=folder.name, job=job, folder=str(folder))
        )
    return folder


def logs(runs: Path, *words: str, code: int = 0) -> list[str]:
    result = CliRunner().invoke(app, ["logs", "s", *words, "--runs", str(runs)])
    if isinstance(result.exception, InputError):
        assert code == 2, str(result.exception)
        return [str(result.exception)]
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output.splitlines()


def test_all_launches_ranks_and_attempts_and_the_newest_by_default(runs: Path) -> None:
    write_sweep(runs, "s", "a", "b")
    write_run(runs, "a", "failed")
    write_run(runs, "b", "failed")
    first, second = submitted(runs, "7", "a", "b", stamp=1), submitted(runs, "9", "a", stamp=2)
    (first / "7_0_0_log.out").write_text(f"setup\n{BEGIN}one\n{BEGIN}two\n")
    (first / "7_1_0_log.out").write_text("of b\n")
    for rank in (0, 1):
        (second / f"9_{rank}_log.out").write_text(f"{BEGIN}three of {rank}\n")
    run = RunFolder(runs / run_id("a"))
    run.log.write_text("training\n")
    found = log_files(run, runs)
    assert [(log.source, log.rank) for log in found] == [
        ("job 7_0", 0), ("job 9", 0), ("job 9", 1), ("training", None),
    ]  # fmt: skip
    _, count = attempt_parts(found, None)
    assert count == 3
    assert logs(runs, "method=a") == [
        f"==> {second}/9_0_log.out (job 9), attempt 3 of 3", BEGIN.strip(), "three of 0",
        f"==> {second}/9_1_log.out (job 9, rank 1), attempt 3 of 3", BEGIN.strip(), "three of 1",
        f"==> {run.log} (training)", "training",
    ]  # fmt: skip
    assert logs(runs, "a-base", "--attempt", "1")[1:] == ["setup", BEGIN.strip(), "one"]
    assert logs(runs, "a-base", "--attempt", "2", "-n", "1")[1:] == ["two"]
    assert logs(runs, "a-base", "--attempt", "3", "--rank", "1")[2:] == ["three of 1"]
    assert "has no attempt 4; it has 3, counted from 1" in logs(runs, "a-base", "--attempt", "4", code=2)[0]
    assert "no log of rank 5; ranks with one: 0, 1" in logs(runs, "a-base", "--rank", "5", code=2)[0]
    assert logs(runs) == [
        f"failed   {run_id('a')}  {second}/9_0_log.out", f"failed   {run_id('b')}  {first}/7_1_0_log.out",
        "2 runs; give one of them to see its log",
    ]  # fmt: skip
    assert "-f follows one run, and 2 fit" in logs(runs, "-f", code=2)[0]
    assert "unknown run of this sweep 'zz'" in logs(runs, "zz", code=2)[0]
    assert logs(runs, "b-base", "-f", code=1)[-1].startswith(f"{run_id('b')}: failed")


def test_attempts_of_logs_too_large_to_count(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_logs, "COUNTED_BYTES", 10)
    write_sweep(runs, "s", "a")
    write_run(runs, "a", "failed")
    log = submitted(runs, "7", "a") / "7_0_log.out"
    log.write_text(f"{BEGIN}one\n{BEGIN}two\n")
    assert logs(runs) == [f"==> {log} (job 7)", BEGIN.strip(), "two"]
    assert logs(runs, "--attempt", "1")[1:] == [BEGIN.strip(), "one"]


def test_a_log_that_is_no_file_is_left_alone(runs: Path) -> None:
    write_sweep(runs, "s", "a")
    write_run(runs, "a", "failed")
    folder = submitted(runs, "7", "a")
    os.mkfifo(folder / "7_0_log.out")  # opening it would wait for a writer
    (folder / "7_1_log.out").mkdir()
    (folder / "folders.txt").write_bytes(b"\xff\xfe")
    assert logs(runs)[0].startswith(f"{run_id('a')} has no log yet: failed")


def test_a_run_without_a_log_says_why(runs: Path) -> None:
    write_sweep(runs, "s", "a")
    assert logs(runs) == [f"{run_id('a')} has no log yet: new, no run folder yet"]


def test_only_the_end_of_a_huge_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as stream:
        stream.write(b"first\n")
        stream.truncate(40 << 20)  # sparse: nothing is on the disk
        stream.seek(40 << 20)
        stream.write(b"\nlast but one\nlast\n")
    part = LogPart(run_logs.LogFile(path, "job 1", 0))
    assert last_lines(part, 2) == ["last but one", "last"]
    assert len(last_lines(part, 100)) <= 3
    assert last_lines(part, 0) == []


def test_attempts_are_found_across_the_blocks_of_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_logs, "BLOCK_BYTES", 7)
    path = tmp_path / "log"
    path.write_text(f"a\n{BEGIN}b\n{BEGIN}{BEGIN}")
    text = path.read_text()
    second = text.index(BEGIN, text.index(BEGIN) + 1)
    assert attempt_starts(path) == [0, second, second + len(BEGIN)]
    path.write_text("")
    assert attempt_starts(path) == [0]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"10%\r50%\r", "50%"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"  File \x07x", "  File \\x07x"),
        (b"\x1b]0;title\x07x", "x"),
        (b"\ta", "        a"),
        ("é ✓".encode(), "é ✓"),
        (b"\xff\xfe", "��"),
        ("\u202egnp".encode(), "\\u202egnp"),
        (b"x" * 9000, "x" * 2000),
    ],
)
def test_lines_are_shown_as_a_terminal_can(raw: bytes, shown: str) -> None:
    assert shown_line(raw) == shown
    assert "\x1b" not in shown_line(raw)


def test_following_a_requeue_a_new_launch_a_rotated_file_and_a_progress_bar(runs: Path) -> None:
    write_run(runs, "a", "running")
    run = RunFolder(runs / run_id("a"))
    folder = submitted(runs, "7", "a")
    log = folder / "7_0_log.out"
    log.write_text("old\n")
    printed: list[str] = []
    steps = iter(range(100))

    def step(_: float) -> None:
        match next(steps):
            case 0:
                with log.open("a") as stream:
                    stream.write("new\n10%\r20%")
            case 1:
                log.write_text("cut off\n")  # shorter than before
            case 2:
                new = submitted(runs, "9", "a")
                (new / "9_0_log.out").write_text("second launch\nno line break")
            case 3:
                run.log.write_text("training\n")

    ended = iter([False, True])
    follow(run, runs, {log: log.stat().st_size}, lambda: next(ended), printed.append, sleep=step)
    assert printed == [
        f"==> {log} (job 7)", "new", "20%", f"--- {log} was replaced or cut off; it is read from its begin", "cut off",
        f"==> {runs}/sweeps/s/j9/9_0_log.out (job 9)", "second launch", f"==> {run.log} (training)", "training",
        f"==> {runs}/sweeps/s/j9/9_0_log.out (job 9)", "no line break",
    ]  # fmt: skip
