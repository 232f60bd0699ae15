"""`c2d doctor --profile`: a probe that runs, ones that wait, fail or are refused, and nodes that lack something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from c2d.cli.doctor import doctor
from c2d.core.errors import InputError
from sweeps.checks import probe, probe_report
from sweeps.definition.profile import Profile
from sweeps.launchers.snapshot import take_snapshot
from sweeps.node import probe_job
from sweeps.scheduler import queue
from tests.sweeps.fake_slurm.control import FakeSlurm

CPU = Profile(name="cpu", gpus=0, cpus=1, mem_gb=0.5)
GPU = Profile(name="gpu", gpus=2, cpus=2, mem_gb=8)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    monkeypatch.setattr(probe, "take_snapshot", lambda runs: "0123456789abcdef")
    return FakeSlurm(tmp_path / "fake", monkeypatch)


def sleeps(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """A second passes in no time; what happens in it is `act`."""
    clock, calls = [time.time()], [0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        calls[0] += 1
        act(calls[0])

    # of the probe only: subprocess sleeps too while a command ends
    monkeypatch.setattr(probe, "time", SimpleNamespace(sleep=sleep, time=lambda: clock[0]))


def answer(rank: int = 0, **facts: Any) -> dict[str, Any]:
    place = {"path": "/x", "visible": True, "writable": True, "free_gb": 50.0}
    checks = [
        {"name": "torch", "status": "ok", "found": "2.12 (CUDA 12.8)", "fix": ""},
        {"name": "GPU", "status": "ok", "found": "2 cards; driver 570", "fix": ""},
    ]
    return {
        "rank": rank, "began": time.time(), "time": time.time(), "host": "n1", "node": "n1", "partition": "main",
        "job": "100", "python": "3.11.2", "executable": "/env/bin/python", "cores": 8, "memory_gb": 32.0,
        "cuda_visible": "0", "tmp": place, "runs": place, "data": place, "doctor": {"checks": checks},
    } | facts  # fmt: skip


def report_of(machine: Profile, *answers: dict[str, Any], late_s: float = 0.0) -> probe_report.ProbeReport:
    report = probe_report.ProbeReport(machine.name, "100", answers=list(answers))
    probe_report.read_answers(report, machine, time.time() - 9, time.time() + late_s)
    return report


def test_a_probe_is_launched_like_a_run(fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script that sbatch was given is run here, with submitit's runner, the pickle and `c2d doctor` in it."""
    (tmp_path / "data").mkdir()
    runs = tmp_path / "runs"
    digest = take_snapshot(runs)
    monkeypatch.setattr(probe, "take_snapshot", lambda runs: digest)
    ran: list[int] = []

    def act(call: int) -> None:
        if call == 1:
            environment = {**os.environ, "SLURM_JOB_ID": "100", "SLURM_JOB_PARTITION": "main", "SLURMD_NODENAME": "n7"}
            command = ["bash", fake.jobs["100"]["script"]]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            log = next(Path(fake.jobs["100"]["script"]).parent.glob("100_0_log.out")).read_text()
            assert done.returncode == 0, done.stderr + log
            ran.append(done.returncode)
            fake.change("100", state="COMPLETED")

    sleeps(monkeypatch, act)
    lines: list[str] = []
    monkeypatch.setattr(probe, "load_profile", lambda name: CPU)
    code = probe.probe("cpu", runs, tmp_path / "data", 60, False, lines.append)
    text = "\n".join(lines)
    assert ran == [0]
    assert f"{sys.version.split()[0]} at " in text
    assert "n7 (partition main, job 100)" in text
    assert "torch" in text
    assert f"{tmp_path / 'data'}, visible" in text
    assert (code, lines[-1]) in (
        (0, "a job of this profile finds everything it needs"),
        (1, f"{lines[-1].split()[0]} problems"),
    )
    flags = fake.jobs["100"]["flags"]
    assert "time=5" in flags
    assert "signal=USR2@10" in flags
    assert list((runs / ".probe").glob("c2d-probe-*.0.json"))


def test_a_waiting_probe_reports_the_reason_and_is_cancelled(
    fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fact = queue.JobFacts("100", state="PENDING", reason="Resources")
    monkeypatch.setattr(queue, "look_up", lambda jobs: {"100": fact})
    sleeps(monkeypatch, lambda call: None)
    report = probe.submit_probe(CPU, tmp_path / "runs", tmp_path, 30, print)
    (problem,) = report.problems
    assert problem.startswith(
        "job 100 did not start within 30 s and was cancelled (Resources: no node with the resources"
    )
    assert problem.endswith("or wait longer with --wait")
    assert fake.calls("scancel") == [["scancel", "100"]]


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "down, drained or reserved"),
        ("QOSMaxGRESPerUser", "a limit of your account or QOS"),
        ("AssocGrpCPULimit", "a limit of your account or QOS"),
        ("Odd", "(Odd)"),
        ("", "(no reason given)"),
    ],
)
def test_pending_reasons_have_an_explanation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str, message: str
) -> None:
    monkeypatch.setattr(probe, "cancel_jobs", lambda jobs: None)
    fact = queue.JobFacts("100", state="PENDING", reason=reason)
    assert message in probe._no_answer("100", fact, tmp_path, 5)
    assert "(no reason given)" in probe._no_answer("100", None, tmp_path, 5)


def test_a_failed_probe_is_diagnosed(fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(call: int) -> None:
        folder = Path(fake.jobs["100"]["script"]).parent
        (folder / "100_0_log.out").write_text("/env/bin/python: No such file or directory\n")
        fake.change("100", state="FAILED", exit=["127:0"])

    sleeps(monkeypatch, act)
    (problem,) = probe.submit_probe(CPU, tmp_path / "runs", tmp_path, 300, print).problems
    assert problem.startswith("job 100 ended as FAILED on n1 (import): /env/bin/python: No such file")


def test_a_running_probe_without_output(tmp_path: Path) -> None:
    (tmp_path / "100_0_log.out").write_text("importing\n")
    text = probe._no_answer("100", queue.JobFacts("100", state="RUNNING", node="n1"), tmp_path, 5)
    assert text == "job 100 runs on n1 and has not answered in 5 s; wait longer with --wait. Its last line: importing"
    assert "Its log is empty." in probe._no_answer("100", queue.JobFacts("100", state="RUNNING"), tmp_path / "no", 5)


def test_a_refused_probe(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.behave(sbatch=["partition"])
    (problem,) = probe.submit_probe(CPU, tmp_path / "runs", tmp_path, 5, print).problems
    assert "Invalid partition name specified" in problem
    assert "fix the profile cpu" in problem


def test_nothing_is_missing() -> None:
    report = report_of(GPU, answer(0), answer(1))
    assert report.problems == []
    facts = dict(report.facts)
    assert facts["processes"] == "2 of 2 answered"
    assert facts["started"] == "9 s after submission"
    assert facts["clock"] == "as here"
    assert facts["torch"] == "2.12 (CUDA 12.8)"


BAD = {"path": "/y", "visible": True, "writable": False, "free_gb": 50.0}


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"cores": 1}, "1 cores instead of 2 a process; lower `cpus`"),
        ({"memory_gb": 4.0}, "4.0 GB of memory instead of 8; lower `mem_gb`"),
        ({"runs": BAD}, "/y is not writable on the node; use a shared folder with --runs"),
        ({"tmp": BAD}, "/y is not writable on the node; set another folder as `tmp`"),
        ({"tmp": {**BAD, "writable": True, "free_gb": 0.2}}, "/y has 0.2 GB left on the node"),
        ({"data": {**BAD, "visible": False}}, "/y is missing on the node; use a shared folder with --data"),
        ({"doctor": {"error": "No module named c2d"}}, "`c2d doctor` failed on the node: No module named c2d"),
        ({"doctor": {"checks": []}}, "the job requested a GPU and torch finds none"),
        (
            {"doctor": {"checks": [{"name": "GPU", "status": "fail", "found": "driver 1", "fix": "mend it"}]}},
            "GPU on the node: driver 1; mend it",
        ),
    ],
)
def test_every_missing_part_has_a_fix(facts: dict[str, Any], problem: str) -> None:
    report = report_of(GPU, answer(0, **facts), answer(1))
    assert any(found.startswith(problem) for found in report.problems), report.problems


def test_processes_without_output_and_clock_differences() -> None:
    report = report_of(GPU, answer(0), late_s=100)
    assert [problem.split(";")[0] for problem in report.problems] == [
        "1 processes did not answer",
        "clocks differ by 100 s, so heartbeats look stale",
    ]
    assert dict(report.facts)["clock"] == "100 s behind this machine's"


def test_missing_slurm_and_unknown_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSlurm(tmp_path, monkeypatch, commands=())
    with pytest.raises(InputError, match="missing: sbatch and squeue"):
        probe.probe("cpu", tmp_path, tmp_path, 5, False)
    with pytest.raises(InputError, match="unknown profile 'cpv'; did you mean 'cpu'"):
        probe.probe("cpv", tmp_path, tmp_path, 5, False)


def test_json_of_a_probe(fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.behave(sbatch=["partition"])
    lines: list[str] = []
    assert probe.probe("cpu", tmp_path / "runs", None, 5, True, lines.append) == 1
    found = json.loads("\n".join(lines))
    assert (found["ok"], found["profile"], len(found["problems"])) == (False, "cpu", 1)


def test_the_doctor_finds_the_probe_by_its_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(doctor)
    point = EntryPoint("profile", "sweeps.checks.probe:probe", "c2d.doctor")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **wanted: [point])
    asked: list[Any] = []

    def fake_doctor(*given: Any) -> int:
        asked.append(given)
        return 1

    monkeypatch.setattr(probe, "probe", fake_doctor)
    done = CliRunner().invoke(app, ["--profile", "p", "--wait", "7", "--runs", "r"])
    assert (done.exit_code, asked) == (1, [("p", Path("r"), None, 7.0, False)])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **wanted: [])
    missing = CliRunner().invoke(app, ["--profile", "p"])
    assert isinstance(missing.exception, InputError)
    assert "the sweeps, which --profile needs" in str(missing.exception)


def test_facts_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe_job.folder_facts(tmp_path) | {"free_gb": 0} == {
        "path": str(tmp_path), "visible": True, "writable": True, "free_gb": 0,
    }  # fmt: skip
    assert probe_job.folder_facts(tmp_path / "no")["visible"] is False
    assert list(tmp_path.iterdir()) == []
    assert probe_job.memory_gb()
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "512")
    assert probe_job.memory_gb() == 0.5
    monkeypatch.setenv("SLURM_PROCID", "3")
    (tmp_path / "p").mkdir()
    probe_job.ProbeJob(str(tmp_path / "p" / "name"), str(tmp_path), str(tmp_path / "no"))()
    (path,) = (tmp_path / "p").iterdir()
    found = json.loads(path.read_text())
    assert (path.name, found["rank"], "doctor" in found) == ("name.3.json", 3, False)


@pytest.mark.parametrize(
    ("answer_of_it", "error"),
    [(("", "boom"), "boom"), (("not json", ""), "not json"), (("", ""), "exit code 3")],
)
def test_a_doctor_that_raises_is_reported(
    monkeypatch: pytest.MonkeyPatch, answer_of_it: tuple[str, str], error: str
) -> None:
    out, err = answer_of_it
    done = subprocess.CompletedProcess([], 3, out, err)
    monkeypatch.setattr(probe_job.subprocess, "run", lambda *a, **k: done)
    assert probe_job.doctor() == {"error": error}
