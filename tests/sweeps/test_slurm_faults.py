"""What a person sees when jobs never start, and when the controller of SLURM does not answer."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from c2d.core.errors import InputError
from c2d.core.job_file import read_job
from c2d.core.run_folder import RunFolder
from sweeps.cli import app
from sweeps.scheduler import queue, slurm_command
from tests.sweeps.fake_slurm.control import FakeSlurm
from tests.sweeps.test_cli import Shell

pytest.importorskip("submitit")
HELD = "scontrol update jobid=101_[0-3] timelimit=$(sinfo -hp short -o %l | head -1)"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, FakeSlurm(tmp_path / "slurm", monkeypatch))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_of(shell: Shell, *words: str) -> str:
    result = CliRunner().invoke(app, [words[0], str(shell.definition), "--runs", str(shell.runs), *words[1:]])
    assert result.exception is not None
    assert not isinstance(result.exception, SystemExit), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_status_and_triage_show_the_command_for_a_job_that_never_starts(shell: Shell) -> None:
    shell.submit()
    shell.slurm.change("101", reason="PartitionTimeLimit", partition="short")
    for command in ("status", "triage"):
        text = " ".join(shell.run(command).split())
        assert "4 runs wait and do not start (PartitionTimeLimit): its time limit is longer than" in text
        assert HELD in text
    lines = shell.run("status").splitlines()
    assert f"    {HELD}" in lines, "a command is on a line of its own, to be copied"
    (group,) = json.loads(shell.run("status", "--json"))["pending"]
    assert (group["reason"], group["commands"], group["starts_itself"]) == ("PartitionTimeLimit", [HELD], False)
    assert len(group["runs"]) == 4
    (waiting,) = json.loads(shell.run("triage", "--json"))
    assert (waiting["class"], waiting["count"], waiting["commands"]) == ("pending", 4, [HELD])
    shell.slurm.change("101", reason="JobArrayTaskLimit")
    assert json.loads(shell.run("status", "--json"))["pending"] == []
    shell.slurm.change("101", reason="QueueOfTheMoon")
    assert "(QueueOfTheMoon): SLURM gives this reason" in shell.run("status")
    assert "scontrol show job 101_[0-3]" in shell.run("status")


def test_a_silent_controller_is_named_and_states_are_of_their_time(shell: Shell) -> None:
    shell.submit()
    before = json.loads(shell.run("status", "--json"))
    assert before["counts"] == {"waiting": 6}
    shell.slurm.behave(silent=["squeue", "scontrol", "sbatch", "scancel"])
    found = json.loads(shell.run("status", "--json"))
    assert found["counts"] == {"unknown": 6}, "accounting has old states of jobs that may have ended"
    assert "Unable to contact" in found["silence"]
    first = found["runs"][0]
    job = read_job(RunFolder(shell.runs / first["run"]))
    assert job is not None
    assert first["reason"].startswith(f"unknown since {job.submitted}: SLURM does not answer; last known: submitted")
    assert (first["last_known_state"], found["eta_s"]) == ("waiting", None)
    text = " ".join(shell.run("status").split())
    assert "SLURM does not answer (squeue: squeue: error: Unable to contact slurm controller" in text
    assert "SLURM does not answer" in shell.run("triage")
    shell.slurm.change("101", state="FAILED")
    counts = json.loads(shell.run("status", "--json", code=1))["counts"]
    assert counts == {"unknown": 2, "failed": 4}, "what accounting has as ended is known"


def test_a_slow_controller_takes_no_more_than_its_limit(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.submit()
    monkeypatch.setattr(queue, "ANSWER_S", 1.5)
    monkeypatch.setattr(queue, "IDS_PER_CALL", 1)  # several calls of each command
    shell.slurm.behave(slow=dict.fromkeys(("squeue", "sacct", "scontrol"), 60))
    begun = time.monotonic()
    assert json.loads(shell.run("status", "--json"))["counts"] == {"unknown": 6}
    assert time.monotonic() - begun < 30
    assert slurm_command.TIMEOUT_S > 12, "other callers wait longer"


def test_submit_retry_and_cancel_change_nothing_while_the_controller_is_silent(shell: Shell) -> None:
    shell.slurm.behave(silent=["squeue", "scontrol", "sbatch", "scancel"])
    words = ("submit", "--where", "slurm", "--no-forward", "--data", str(shell.data))
    assert "SLURM does not answer (scontrol: " in error_of(shell, *words)
    assert not shell.runs.exists()
    shell.slurm.behave()
    shell.submit()
    shell.slurm.change("100", state="NODE_FAIL")
    shell.slurm.behave(silent=["squeue", "scontrol", "sbatch", "scancel"])
    before = files(shell.runs)
    assert "SLURM does not answer" in error_of(shell, "retry")
    assert files(shell.runs) == before
    said = shell.run("submit", "--where", "slurm", "--no-forward", "--data", str(shell.data))
    assert "nothing to launch; SLURM does not answer, the state of " in said
    shell.slurm.change("100", state="RUNNING")
    assert "SLURM does not answer" in error_of(shell, "cancel", "--yes")
    assert shell.slurm.calls("scancel")
    assert files(shell.runs) == before, "no run is marked as cancelled"


@pytest.mark.parametrize("command", ["check", "submit slurm", "submit dry"])
def test_a_warning_before_the_start_is_refused_with_the_numbers(shell: Shell, command: str, tmp_path: Path) -> None:
    profile = tmp_path / "lab.yaml"
    profile.write_text("signal_delay_s: 7200\nhours: {small: 1}\n")
    name, _, where = command.partition(" ")
    words = ["--no-forward", "--data", str(shell.data), "--profile", str(profile)]
    given = [name, str(shell.definition), "--runs", str(shell.runs), *words, *(["--where", where] if where else [])]
    result = CliRunner().invoke(app, given)
    assert isinstance(result.exception, InputError)
    assert "signal_delay_s 7200 is not shorter than the limit of 3600 s (hours.small)" in str(result.exception)
    assert not shell.runs.exists()


def test_a_job_that_was_killed_at_its_limit_is_started_again(shell: Shell) -> None:
    """With its batch script: status.json says `running`, and nobody recorded the end."""
    shell.submit()
    run = RunFolder(next(shell.runs.glob("retinanet-r50-baseline-*")))
    run.write_status("running", attempt=1, iteration=40, iterations=90, host="n1", pid=1, reason="interrupted before")
    job = read_job(run)
    assert job is not None
    assert job.job is not None
    number, _, task = job.job.partition("_")
    shell.slurm.change(number, states=["TIMEOUT" if place == int(task) else "PENDING" for place in range(2)])
    (failed,) = [one for one in json.loads(shell.run("status", "--json", code=1))["runs"] if one["run"] == run.id]
    assert (failed["state"], failed["class"]) == ("failed", "time-limit")
    assert "interrupted before" not in failed["reason"], "that was the end of an earlier start"
    assert f"retry: {run.id} (time-limit" in shell.run("retry")
    again = read_job(run)
    assert again is not None
    assert (again.submissions, again.state) == (2, "submitted")
