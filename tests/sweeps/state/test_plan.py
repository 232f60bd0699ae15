"""State of a planned run, for every combination of run files and queue."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from c2d.core.job_file import Job, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.sweep_manifest import PlannedRun
from sweeps.scheduler.queue import JobFacts
from sweeps.state.plan import Row, plan_rows, read_plan
from sweeps.state.run_files import read_store_files

NOW = time.time()
ELSEWHERE = {"host": "node17", "pid": 4}
DEAD_PID = 2**22 + 1  # above the largest pid


def stamp(ago_s: float = 0.0) -> str:
    return datetime.fromtimestamp(NOW - ago_s, UTC).isoformat(timespec="seconds")


def status(run: RunFolder, state: str, ago_s: float = 0.0, **facts: Any) -> None:
    atomic_write_json(run.spec, {})
    atomic_write_json(
        run.status, {"format": 1, "state": state, "attempt": 1, "heartbeat": stamp(ago_s), **ELSEWHERE, **facts}
    )


def job(run: RunFolder, ago_s: float = 600.0, **facts: Any) -> None:
    given = {"sweep": "s", "where": "slurm", "state": "submitted", "name": "c2d-s-1", "job": "7_0", **facts}
    write_job(run, Job(submitted=stamp(ago_s), **given))


def plan_row(run: RunFolder, fact: JobFacts | None = None, *, queue: bool = True, **planned: Any) -> Row:
    asked = PlannedRun(run.id, "student", ({"method": "icod", "seed": "0"},), **planned)
    (row,) = plan_rows([asked], run.path.parent, {"7_0": fact} if fact else {}, queue_answered=queue, now=NOW)
    return row


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "ssd-icod-0123456789ab-s0")
    atomic_write_json(folder.spec, {})
    return folder


def test_a_run_without_a_folder_is_new(tmp_path: Path) -> None:
    row = plan_row(RunFolder(tmp_path / "nothing"))
    assert (row.state, row.launch, row.reason) == ("new", True, "no run folder yet")
    assert plan_rows([PlannedRun("x", "student")], tmp_path / "no store", {}, queue_answered=False)[0].state == "new"


def test_a_folder_with_only_a_spec_is_new(run: RunFolder) -> None:
    assert (plan_row(run).state, plan_row(run).launch) == ("new", True)


def test_done_needs_the_result_as_well(run: RunFolder) -> None:
    status(run, "done")
    assert plan_row(run).state != "done"
    atomic_write_json(run.result, {})
    assert (plan_row(run).state, plan_row(run).launch) == ("done", False)


def test_a_fresh_heartbeat_is_a_running_run(run: RunFolder) -> None:
    status(run, "running", ago_s=20, iteration=30, iterations=90)
    row = plan_row(run)
    assert (row.state, row.reason) == ("running", "iteration 30 of 90")


def test_a_stale_heartbeat_is_a_failure_unless_the_job_runs(run: RunFolder) -> None:
    status(run, "running", ago_s=400, iteration=30, iterations=90)
    job(run)
    silent = plan_row(run, queue=False)
    assert (silent.state, silent.is_last_known, silent.launch) == ("running", True, False), "SLURM may have requeued it"
    assert silent.reason == (
        f"unknown since {stamp(400)}: SLURM does not answer; last known: running, iteration 30 of 90, job 7_0"
    )
    assert plan_row(run).state == "failed"
    assert plan_row(run, JobFacts("7_0", state="NODE_FAIL")).failure_class == "node-failure"
    alive = plan_row(run, JobFacts("7_0", state="RUNNING"))
    assert alive.state == "running"
    assert "no heartbeat for 7 min" in alive.reason


def test_a_dead_process_of_this_host_is_detected_immediately(run: RunFolder) -> None:
    status(run, "running", host=socket.gethostname(), pid=DEAD_PID, iteration=3, iterations=9)
    row = plan_row(run, queue=False)
    assert (row.state, row.launch) == ("waiting", True)  # a person's own training, or one whose launcher died with it
    assert row.reason == "killed, iteration 3 of 9; continues from its checkpoint"
    job(run)
    assert plan_row(run).state == "failed"
    assert plan_row(run, queue=False).is_last_known
    status(run, "running", host=socket.gethostname(), pid=os.getpid())
    assert plan_row(run, queue=False).state == "running"


def test_a_requeued_job_waits_and_names_its_iteration(run: RunFolder) -> None:
    status(run, "running", ago_s=400, iteration=30, iterations=90)
    job(run)
    row = plan_row(run, JobFacts("7_0", state="PENDING", reason="BeginTime"))
    assert row.state == "waiting"
    assert "requeued, continues at iteration 30 of 90" in row.reason
    assert "BeginTime" in row.reason


def test_a_failure_that_was_submitted_again_waits(run: RunFolder) -> None:
    status(run, "failed", ago_s=100, failure_class="nan", reason="loss is nan")
    assert (plan_row(run).state, plan_row(run).failure_class) == ("failed", "nan")
    job(run, ago_s=50)
    assert plan_row(run, JobFacts("7_0", state="PENDING")).state == "waiting"
    job(run, ago_s=200)
    assert plan_row(run, JobFacts("7_0", state="FAILED")).state == "failed"


def test_an_interrupted_run_is_continued(run: RunFolder) -> None:
    status(run, "waiting", iteration=3, iterations=9, reason="interrupted; call again to continue")
    row = plan_row(run)
    assert (row.state, row.launch) == ("waiting", True)
    assert "iteration 3 of 9" in row.reason


def test_the_local_queue_ends_with_its_launcher(run: RunFolder) -> None:
    job(run, ago_s=0, where="local", job=None, host=socket.gethostname(), pid=os.getpid())
    assert (plan_row(run).state, plan_row(run).launch) == ("waiting", False)
    job(run, where="local", job=None, host=socket.gethostname(), pid=DEAD_PID)
    assert (plan_row(run).state, plan_row(run).launch) == ("new", True)
    status(run, "waiting", iteration=3, iterations=9)
    assert (plan_row(run).state, plan_row(run).launch) == ("waiting", True)


@pytest.mark.parametrize(
    ("fact", "state"),
    [
        (JobFacts("7_0", state="PENDING", reason="Priority"), "waiting"),
        (JobFacts("7_0", state="RUNNING", node="n1"), "running"),
        (JobFacts("7_0", state="COMPLETED"), "waiting"),  # finishing: the files are on their way
        (JobFacts("7_0", state="TIMEOUT"), "failed"),
        (JobFacts("7_0", state="CANCELLED"), "failed"),
        (JobFacts("7_0", state="OUT_OF_MEMORY"), "failed"),
    ],
)
def test_before_the_run_writes_its_status_the_queue_decides(run: RunFolder, fact: JobFacts, state: str) -> None:
    job(run)
    row = plan_row(run, fact)
    assert (row.state, row.launch) == (state, False)


def test_an_unknown_job(run: RunFolder) -> None:
    job(run)
    assert plan_row(run, queue=False).state == "waiting"  # no queue to ask: it is believed
    assert plan_row(run).state == "failed"  # purged, and no trace of it
    job(run, ago_s=5)
    assert plan_row(run).state == "waiting"  # just submitted: accounting is slow


def test_a_submission_in_progress_is_not_repeated(run: RunFolder) -> None:
    job(run, state="submitting", job=None, host="login1", pid=9)
    row = plan_row(run)
    assert (row.state, row.launch) == ("waiting", False)
    assert "c2d-s-1 (pid 9 on login1)" in row.reason


def test_students_of_a_failed_teacher_are_blocked_and_name_it(run: RunFolder) -> None:
    teacher = RunFolder(run.path.parent / "resnet18-classifier-0123456789ab-s0")
    status(teacher, "failed", failure_class="nan", reason="loss is nan")
    plan = [
        PlannedRun(teacher.id, "teacher"),
        PlannedRun(run.id, "student", ({"seed": "0"},), (teacher.id,)),
        PlannedRun("other", "student", ({"seed": "0"},)),
    ]
    rows = plan_rows(plan, run.path.parent, {}, queue_answered=False, now=NOW)
    assert [row.state for row in rows] == ["failed", "blocked", "new"]
    assert rows[1].reason == f"blocked by {teacher.id} (nan)"
    assert not rows[1].launch
    status(run, "done")
    atomic_write_json(run.result, {})
    assert plan_rows(plan, run.path.parent, {}, queue_answered=False, now=NOW)[1].state == "done"


def test_a_cancelled_dependent_is_launched_again_unless_its_teacher_failed(run: RunFolder) -> None:
    job(run)
    gone = JobFacts("7_0", state="CANCELLED", reason="Dependency")
    assert (plan_row(run, gone).state, plan_row(run, gone).launch) == ("waiting", True)
    teacher = RunFolder(run.path.parent / "teacher")
    status(teacher, "failed", failure_class="nan")
    plan = [PlannedRun(teacher.id, "teacher"), PlannedRun(run.id, "student", (), (teacher.id,))]
    assert plan_rows(plan, run.path.parent, {"7_0": gone}, queue_answered=True, now=NOW)[1].state == "blocked"


def test_runs_behind_a_failed_canary_are_blocked_and_name_it(run: RunFolder) -> None:
    canary = RunFolder(run.path.parent / "bird")
    status(canary, "failed", failure_class="nan")
    job(run, depends=["bird#canary"])
    row = plan_row(run, JobFacts("7_0", state="CANCELLED", reason="DependencyNeverSatisfied"))
    assert (row.state, row.reason, row.launch) == ("blocked", "blocked by the canary bird", False)


def test_a_complete_job_without_a_result_is_a_failure_after_a_while(run: RunFolder) -> None:
    job(run)
    began = datetime.fromtimestamp(NOW - 600, UTC).astimezone().replace(tzinfo=None).isoformat(timespec="seconds")
    assert plan_row(run, JobFacts("7_0", state="COMPLETED", started=began, elapsed_s=590)).state == "waiting"
    assert plan_row(run, JobFacts("7_0", state="COMPLETED", started=began, elapsed_s=300)).state == "failed"


def test_a_damaged_status_file_does_not_end_the_plan(run: RunFolder) -> None:
    run.status.write_text('{"state": "runn')
    row = plan_row(run)
    assert (row.state, row.launch) == ("damaged", False)
    assert row.reason.startswith("status.json is not valid JSON")
    assert "remove it" in row.reason


def test_jobs_of_finished_runs_are_not_queried(run: RunFolder) -> None:
    job(run)
    read = read_store_files([run.id, "not there"], run.path.parent)
    assert {name: files.unfinished_jobs for name, files in read.items()} == {run.id: ["7_0"]}
    status(run, "done")
    assert read_store_files([run.id], run.path.parent)[run.id].unfinished_jobs == []


def test_the_files_of_a_run_are_opened_once(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    status(run, "running", ago_s=20)
    job(run)
    opened: list[str] = []
    real = os.open

    def counting(path: Any, *args: Any, **options: Any) -> int:
        opened.append(os.path.basename(str(path)))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", counting)
    manifest = {"cells": [{"labels": {}, "seed": 0, "run": run.id}], "teachers": [], "needs": {}, "orphans": []}
    rows, _ = read_plan(manifest, run.path.parent)
    assert [row.state for row in rows] == ["running"]
    assert (opened.count("status.json"), opened.count("job.json")) == (1, 1)
