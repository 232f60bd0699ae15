"""After a failed job: the decision table, the records, and the exit code that the batch script gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import SoftFileLock

from c2d.core.job_file import Job, append_attempt, read_attempts, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.node import on_exit
from sweeps.node.on_exit import Decision, decide, folder_of_task, handle_exit
from sweeps.scheduler import scontrol
from sweeps.scheduler.scontrol import JobStart, own_job, parse_job_start, requeue

ROOT = Path(__file__).parents[3]
DEAD = 2**22 + 1  # no process has this number
RUNNING = JobStart("12", "RUNNING", "n1", 0, 600.0, 3600.0)
# Output of SLURM 22.05 in the batch script of a job that is ... (other lines left out)
SHOWN = {
    "running": "JobId=12 JobName=a\n JobState=RUNNING Reason=None Dependency=(null)\n Requeue=1 Restarts=0\n "
    "RunTime=00:10:00 TimeLimit=01:00:00 TimeMin=N/A\n StartTime=2026-11-20T22:05:49 EndTime=2026-11-20T23:05:49\n "
    "PreemptEligibleTime=2026-11-20T22:05:49 PreemptTime=None\n NodeList=n2\n BatchHost=n2",
}
SHOWN["cancelled"] = SHOWN["running"].replace("RUNNING", "COMPLETING")
SHOWN["preempted"] = SHOWN["running"].replace("PreemptTime=None", "PreemptTime=2026-11-20T22:15:49")
SHOWN["requeued"] = SHOWN["cancelled"].replace("Restarts=0", "Restarts=1")
SHOWN["over"] = SHOWN["cancelled"].replace("00:10:00", "01:00:01")
SHOWN["preempted before"] = SHOWN["running"].replace("PreemptTime=None", "PreemptTime=2026-11-20T22:01:49")
SHOWN["limit"] = SHOWN["cancelled"].replace("Reason=None", "Reason=TimeLimit")
SHOWN["pending"] = SHOWN["requeued"].replace("COMPLETING", "PENDING")
SHOWN["silent"] = ""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def fail_run(folder: RunFolder, state: str = "running", **facts: Any) -> None:
    """Write a run whose process has ended."""
    now = time.time()
    folder.write_status(state, **{"attempt": 1, "begun": now - 300, "iteration": 10, "pid": DEAD, **facts})


def slice_of(name: str) -> JobStart:
    return parse_job_start(SHOWN[name]) if SHOWN[name] else JobStart(job="12")


FAILED = {"state": "failed", "reason": "said so"}
SAVED = {"state": "waiting", "reason": "interrupted by SIGUSR2; call again to continue"}
ASKED = {"state": "waiting", "reason": "interrupted by SIGTERM; call again to continue"}
RUNS = {"state": "running"}


@pytest.mark.parametrize(
    ("code", "status", "shown", "action", "kind"),
    [
        (130, SAVED, "running", "requeue", "time-limit"),
        (130, ASKED, "running", "requeue", "preempted"),
        (130, ASKED, "preempted", "requeue", "preempted"),  # it left within the grace time: SLURM would not requeue it
        (130, SAVED, "preempted", "requeue", "preempted"),
        (130, ASKED, "preempted before", "requeue", "preempted"),
        (130, ASKED, "cancelled", "stop", "cancelled"),
        (130, ASKED, "requeued", "slurm", "preempted"),
        (130, ASKED, "silent", "stop", "preempted"),
        (137, RUNS, "running", "requeue", "killed"),
        (137, RUNS, "requeued", "slurm", "killed"),
        (137, RUNS, "preempted", "requeue", "preempted"),
        (137, RUNS, "cancelled", "stop", "cancelled"),
        (143, RUNS, "over", "requeue", "time-limit"),
        (130, ASKED, "limit", "requeue", "time-limit"),
        (143, RUNS, "pending", "slurm", "killed"),
        (1, {**FAILED, "failure_class": "nan"}, "running", "stop", "nan"),
        (1, {**FAILED, "failure_class": "hang"}, "running", "requeue", "hang"),
        (
            1,
            {**FAILED, "failure_class": "host-oom"},
            "running",
            "stop",
            "host-oom",
        ),  # more memory is another submission
        (1, {**FAILED, "failure_class": "data"}, "running", "stop", "data"),
        (1, {**FAILED, "failure_class": "user-code"}, "running", "stop", "user-code"),
        (1, RUNS, "running", "stop", "unknown"),
    ],
)
def test_decisions(folder: RunFolder, code: int, status: dict[str, Any], shown: str, action: str, kind: str) -> None:
    fail_run(folder, **status)
    verdict = decide(folder, code, slice_of(shown))
    assert (verdict.action, verdict.failure_class) == (action, kind)


def test_the_failed_rank_is_the_reason_although_others_exited_cleanly(folder: RunFolder) -> None:
    """srun ends the other ranks with TERM, and returns the highest of all exit codes."""
    fail_run(folder, **ASKED)
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    note = {"time": now, "rank": 1, "host": "n2", "class": "nan", "line": "the loss is not finite", "attempt": 1}
    atomic_write_json(folder.path / "ranks" / "1.json", note)
    verdict = decide(folder, 130, RUNNING)
    assert verdict == Decision("stop", "nan", "the loss is not finite")


def test_progress_is_what_was_saved(folder: RunFolder) -> None:
    """Slices that each get a little further are started again without end; those that get nowhere are not."""
    folder.checkpoints.mkdir()
    for slice_ in range(12):
        fail_run(folder, **ASKED)
        folder.checkpoint(100 + slice_).touch()
        handle_exit(folder, 130, RUNNING, lambda _: None, lambda: "", by="after")
    assert [death["iteration"] for death in read_attempts(folder)] == list(range(100, 112))
    for _ in range(4):
        fail_run(folder, **ASKED)
        assert decide(folder, 130, RUNNING).action == "requeue"
        handle_exit(folder, 130, RUNNING, lambda _: None, lambda: "", by="after")
    fail_run(folder, **ASKED)
    assert decide(folder, 130, RUNNING).action == "stop"


def test_a_cancelled_launch_is_never_started_again(folder: RunFolder) -> None:
    fail_run(folder, **ASKED)
    write_job(folder, Job(sweep="s", where="slurm", state="cancelled", name="n"))
    assert decide(folder, 130, RUNNING).failure_class == "cancelled"


def test_finished_runs_and_runs_of_another_job_are_unchanged(folder: RunFolder) -> None:
    fail_run(folder, host="another")
    before = folder.status.read_bytes()
    messages: list[str] = []
    with SoftFileLock(folder.lock):
        handle_exit(folder, 1, RUNNING, messages.append, pytest.fail, by="after")
    assert "is now written by pid" in messages[0]
    assert folder.status.read_bytes() == before
    folder.write_status("done")
    folder.result.write_text("{}")
    handle_exit(folder, 137, RUNNING, messages.append, pytest.fail, by="after")
    assert "the run is done" in messages[1]
    assert read_attempts(folder) == []


def test_a_failure_is_recorded_before_the_requeue(folder: RunFolder) -> None:
    fail_run(folder)
    folder.lock.touch()
    folder.checkpoints.mkdir()
    folder.checkpoint(8).touch()
    os.utime(folder.checkpoint(8), (time.time() - 40, time.time() - 40))
    messages: list[str] = []

    def start() -> str:
        (death,) = read_attempts(folder)
        assert (death["class"], death["exit_code"], death["iteration"]) == ("killed", 137, 10)
        assert (death["requeued"], death["by"], death["attempt"], death["job"]) == (True, "after", 1, "12")
        assert death["lost_s"] == pytest.approx(40, abs=2)
        assert death["seconds"] == pytest.approx(300, abs=2)
        assert folder.read_status()["state"] == "waiting"
        assert not folder.lock.exists()  # the next start need not find out that its owner is dead
        assert "it restarts" in messages[0]
        return ""

    handle_exit(folder, 137, RUNNING, messages.append, start, by="after")
    assert len(messages) == 1


def test_a_job_that_cannot_be_requeued_is_failed(folder: RunFolder) -> None:
    fail_run(folder, **ASKED)
    handle_exit(folder, 130, RUNNING, lambda _: None, lambda: "Job is no longer there", by="after")
    status = folder.read_status()
    assert (status["state"], status["failure_class"]) == ("failed", "preempted")
    assert status["reason"].endswith("requeue failed: Job is no longer there")


def test_a_run_killed_by_sigkill_does_not_keep_the_state_running(folder: RunFolder) -> None:
    fail_run(folder)
    for _ in range(3):
        append_attempt(folder, **{"class": "killed", "iteration": 10})
    messages: list[str] = []
    handle_exit(folder, 137, RUNNING, messages.append, pytest.fail, by="after")
    status = folder.read_status()
    assert (status["state"], status["failure_class"]) == ("failed", "killed")
    assert read_attempts(folder)[-1]["requeued"] is False


def test_log_lines_of_an_earlier_start_are_ignored(folder: RunFolder) -> None:
    """Python did not start on the node: status.json is still that of the attempt before."""
    fail_run(folder, "failed", failure_class="nan", reason="old words", begun=time.time() - 9000)
    now = parse_job_start(SHOWN["running"])
    old = time.time() - 8000
    status = json.loads(folder.status.read_text())
    status["heartbeat"] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(old))
    folder.status.write_text(json.dumps(status))
    verdict = decide(folder, 127, now)
    assert verdict.failure_class != "nan"
    assert "old words" not in verdict.reason
    handle_exit(folder, 127, now, lambda _: None, pytest.fail, by="after")
    (death,) = read_attempts(folder)
    assert (death["attempt"], death["seconds"], death["lost_s"]) == (None, 600.0, 0.0)


def soon_again(folder: RunFolder, reason: str, state: str = "waiting", **facts: Any) -> JobStart:
    """A run that ended 12 seconds ago, and whose job was started again 5 seconds ago."""
    fail_run(folder, state, reason=reason, begun=time.time() - 20, **facts)
    status = json.loads(folder.status.read_text())
    status["heartbeat"] = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() - 12))
    folder.status.write_text(json.dumps(status))
    return JobStart("12", "RUNNING", "n1", 1, 5.0, 3600.0)


@pytest.mark.parametrize(("code", "kind"), [(130, "preempted"), (137, "killed"), (140, "time-limit")])
def test_a_failure_in_the_start_up_is_not_explained_by_the_attempt_before(
    folder: RunFolder, code: int, kind: str
) -> None:
    """The attempt before got SIGUSR2 and recorded that; this start has no attempt of its own yet."""
    now = soon_again(folder, "interrupted by SIGUSR2; call again to continue")
    append_attempt(folder, **{"class": "time-limit", "iteration": 10, "attempt": 1})
    assert decide(folder, code, now, 1).failure_class == kind
    handle_exit(folder, code, now, lambda _: None, lambda: "", by="after", restarts=1)
    death = read_attempts(folder)[-1]
    assert (death["class"], death["attempt"], death["seconds"], death["lost_s"]) == (kind, None, 5.0, 0.0)


@pytest.mark.parametrize("noted", [False, True])
def test_a_requeue_by_an_operator_keeps_the_seconds_of_the_attempt(folder: RunFolder, noted: bool) -> None:
    """`scontrol requeue` by an operator: RunTime is 0 then, although the attempt took its 300 seconds."""
    fail_run(folder, "waiting", reason="interrupted by SIGTERM; call again to continue")
    if noted:  # the attempt in status.json is of an earlier start
        append_attempt(folder, **{"class": "preempted", "iteration": 10, "attempt": 1})
    now = JobStart("12", "COMPLETING", "n1", 1, 0.0, 3600.0)
    handle_exit(folder, 130, now, lambda _: None, pytest.fail, by="after", restarts=0)
    death = read_attempts(folder)[-1]
    assert (death["class"], death["attempt"]) == ("preempted", None if noted else 1)
    assert death["seconds"] == pytest.approx(0 if noted else 300, abs=3)


def test_a_cancel_on_its_way_is_waited_for(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM accepts it: no requeue. SLURM refuses it: the run goes on. No answer: it counts, unless it is old."""
    monkeypatch.setattr(on_exit, "CANCEL_POLL_S", 0.05)
    monkeypatch.setattr(on_exit, "CANCEL_WAIT_S", 0.5)
    fail_run(folder, **ASKED)
    mark = Job(sweep="s", where="slurm", state="cancelling", name="n", job="12")

    def decide_while(state: str) -> Decision:
        write_job(folder, mark)
        later = threading.Timer(0.2, lambda: write_job(folder, mark.model_copy(update={"state": state})))
        later.start()
        decision = decide(folder, 130, RUNNING)
        later.join()
        return decision

    assert decide_while("cancelled") == Decision("stop", "cancelled", "its job was cancelled")
    assert decide_while("submitted").action == "requeue"
    write_job(folder, mark)
    assert decide(folder, 130, RUNNING).action == "stop"
    os.utime(folder.job, (0, 0))
    assert decide(folder, 130, RUNNING).action == "requeue"


def test_a_cancelled_canary_is_known_by_its_own_launch(folder: RunFolder) -> None:
    fail_run(folder, **ASKED)
    launched = Job(sweep="s", where="slurm", state="submitted", name="n", job="13")
    write_job(folder, launched)
    write_job(folder, launched.model_copy(update={"job": "12", "state": "cancelled"}), canary=True)
    assert decide(folder, 130, RUNNING).failure_class == "cancelled"
    write_job(folder, launched.model_copy(update={"job": "11", "state": "cancelled"}), canary=True)
    assert decide(folder, 130, RUNNING).action == "requeue"


def test_killed_in_training_after_a_preemption_is_killed(folder: RunFolder) -> None:
    fail_run(folder)
    append_attempt(folder, **{"class": "preempted", "iteration": 5, "attempt": 0})
    assert decide(folder, 137, RUNNING).failure_class == "killed"


def test_a_failure_in_the_start_up_replaces_what_failed_before(folder: RunFolder) -> None:
    now = soon_again(folder, "old words", "failed", failure_class="nan")
    handle_exit(folder, 127, now, lambda _: None, pytest.fail, by="after", restarts=1)
    status = folder.read_status()
    assert status["failure_class"] != "nan"
    assert status["reason"] == "its process ended with exit code 127"


def test_slurm_is_read() -> None:
    assert slice_of("running") == JobStart("12", "RUNNING", "n2", 0, 600.0, 3600.0, False)
    assert slice_of("preempted").preempted
    assert not slice_of("preempted before").preempted  # an earlier start was
    assert parse_job_start("RunTime=1-02:03:04 TimeLimit=UNLIMITED Restarts=x").run_s == 93784.0
    assert parse_job_start("TimeLimit=UNLIMITED").limit_s is None
    assert slice_of("over").over_limit
    assert slice_of("limit").over_limit


def test_the_task_finds_its_run(tmp_path: Path) -> None:
    (tmp_path / "folders.txt").write_text("/runs/a\n/runs/b\n")
    assert folder_of_task(tmp_path / "folders.txt", {}).id == "a"
    assert folder_of_task(tmp_path / "folders.txt", {"SLURM_ARRAY_TASK_ID": "1"}).id == "b"


def test_the_last_task_of_an_array_does_not_stand_for_all_tasks() -> None:
    last = {"SLURM_JOB_ID": "11", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "2"}  # seen: equal numbers
    assert own_job(last) == "11_2"
    assert own_job({"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "0"}) == "11_0"
    assert own_job({"SLURM_JOB_ID": "12"}) == "12"
    assert own_job({}) == ""


def test_requeue_is_tried_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scontrol, "PAUSE_S", 0.01)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    script = tmp_path / "scontrol"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ $(wc -l < {tmp_path}/calls) -ge 3 ] || exit 1\n')
    script.chmod(0o755)
    assert requeue("12") == ""
    assert (tmp_path / "calls").read_text() == "requeue 12\n" * 3
    script.write_text("#!/bin/sh\necho 'slurm_update error: Job is gone' >&2; exit 1\n")
    assert requeue("12") == "slurm_update error: Job is gone"


def test_the_command_in_a_batch_script(folder: RunFolder, tmp_path: Path) -> None:
    """The whole command with a fake scontrol. An error in the command never changes the exit code."""
    fail_run(folder, **ASKED)
    (tmp_path / "folders.txt").write_text(f"{folder.path}\n")
    (tmp_path / "shown").write_text(SHOWN["running"])
    script = tmp_path / "scontrol"
    script.write_text(f'#!/bin/sh\n[ "$1" = show ] && exec cat {tmp_path}/shown\necho "$@" > {tmp_path}/calls\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "12"}
    words = [sys.executable, "-m", "sweeps.node.on_exit"]
    begun = time.monotonic()
    done = subprocess.run(
        [*words, str(tmp_path / "folders.txt"), "130"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 1  # 0 would say that the run is done
    assert time.monotonic() - begun < 12  # no wait for a cancel
    assert done.stdout == "run ended (preempted): asked to stop; it restarts\n"
    assert (tmp_path / "calls").read_text() == "requeue 12\n"
    assert len(read_attempts(folder)) == 1
    broken = subprocess.run([*words, "/nowhere", "x"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert broken.returncode == 1
    assert broken.stdout.startswith("warning: this exit could not be handled")
    assert broken.stderr == ""
