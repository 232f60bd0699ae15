"""Submitting as a user does, to a fake SLURM and without any data: what is launched, what is not, and why."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import Busy, InputError
from c2d.core.job_file import read_attempts, read_job, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.core.store_folder import RunStore
from sweeps.actions import submit, workspace
from sweeps.actions.cancel import cancel_runs, cancellable
from sweeps.actions.code_of_runs import rows_with_code
from sweeps.actions.relaunch import RelaunchOptions, relaunch
from sweeps.actions.release_students import relaunch_with_students
from sweeps.actions.select_retries import select_retries
from sweeps.actions.submit import submit_sweep
from sweeps.actions.tasks import rows_to_launch, tasks_of
from sweeps.actions.workspace import Workspace, submission_lock
from sweeps.definition.definition import parse_definition
from sweeps.definition.profile import Profile
from sweeps.launchers.launch_request import LaunchRequest
from sweeps.launchers.local_jobs import write_local_jobs
from sweeps.launchers.snapshot import snapshot_folder
from sweeps.state.failed_attempts import pending_retries
from sweeps.state.manifest import load_manifest
from sweeps.state.plan import Row, read_plan
from tests.sweeps.fake_slurm.control import FakeSlurm

pytest.importorskip("submitit")

GRID = """
question: How warm, and how much?
base: {dataset: coco2017, student: retinanet-r50, schedule: 1x-dense}
teachers:
  classifier: {network: resnet50, schedule: coco-general}
axes:
  method:
    baseline: []
    icod: [{icod: {}}]
  method.icod.T: [1, 2]
  method.icod.lambda_kc: [0.2, 0.4]
seeds: 1
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs", tmp_path / "data", "slurm", Profile(name="p", array_cap=8))


def launch(place: Workspace, text: str = GRID, **how: Any) -> tuple[int, list[str], list[str]]:
    messages: list[str] = []
    reasons: list[str] = []
    definition = parse_definition(text, "grid.yaml", "grid")
    code = submit_sweep(definition, place, forward=False, print_line=messages.append, print_run=reasons.append, **how)
    return code, messages, reasons


def rows(place: Workspace) -> dict[str, Row]:
    return {row.run.id: row for row in read_plan(load_manifest(place.runs, "grid"), place.runs)[0]}


def finish(run: RunFolder) -> None:
    run.write_status("done")
    run.classifier.touch()  # without weights it would be made again
    atomic_write_json(run.result, {"format": 1, "top1": 0.9})


def fail(run: RunFolder, failure_class: str) -> None:
    run.write_status("failed", attempt=1, failure_class=failure_class, reason="because")


def started(fake: FakeSlurm) -> int:
    return sum(len(job["states"]) for job in fake.jobs.values())


def test_a_grid_is_launched_once(fake: FakeSlurm, place: Workspace) -> None:
    code, _, reasons = launch(place)
    assert code == 0
    assert len(reasons) == 6  # one teacher, one baseline (of four equal cells), four icod
    assert all(line.startswith("-> new") for line in reasons)
    assert started(fake) == 6
    found = rows(place)
    assert {row.state for row in found.values()} == {"waiting"}
    assert all(read_json(row.run.spec)["format"] == 1 for row in found.values())
    code, messages, reasons = launch(place)
    assert (code, messages) == (0, ["nothing to launch"])
    assert all(line.startswith("   waiting") for line in reasons)
    assert started(fake) == 6


def test_two_shells_at_once_launch_every_run_once(fake: FakeSlurm, place: Workspace, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID)
    words = ["sweep", "submit", str(tmp_path / "grid.yaml"), "--where", "slurm", "--no-forward", "--runs"]
    command = [sys.executable, "-m", "c2d", *words, str(place.runs), "--data", str(place.data)]
    shells = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [shell.communicate(timeout=120) for shell in shells]
    assert [shell.returncode for shell in shells] == [0, 0], told
    assert started(fake) == 6
    assert sum("nothing to launch" in out for out, _ in told) == 1


def test_extending_a_grid_runs_only_what_is_new(fake: FakeSlurm, place: Workspace) -> None:
    two = GRID.replace("    baseline: []\n", "")
    launch(place, two)
    before = started(fake)
    assert before == 1 + 4
    three = two.replace("T: [1, 2]", "T: [1, 2, 3]").replace("kc: [0.2, 0.4]", "kc: [0.2, 0.4, 0.8]")
    _, _, reasons = launch(place, three)
    assert started(fake) - before == 5
    assert sum(line.startswith("-> new") for line in reasons) == 5


def test_removed_cells_cancel_nothing_and_become_orphans(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    every = set(rows(place))
    launch(place, GRID.replace("T: [1, 2]", "T: [1]"))
    assert fake.calls("scancel") == []
    record = load_manifest(place.runs, "grid")
    assert len(record["orphans"]) == 2
    found = rows(place)
    assert set(found) == every
    assert {row.run.id for row in found.values() if row.kind == "orphan"} == set(record["orphans"])
    assert select_retries(list(found.values()), ids=[], ignore_backoff=True) == []
    launch(place)
    assert load_manifest(place.runs, "grid")["orphans"] == []


def test_students_wait_for_their_teacher_in_one_flag_and_not_for_a_finished_one(
    fake: FakeSlurm, place: Workspace
) -> None:
    launch(place, GRID.replace("    baseline: []\n", ""), filters=["method.icod.T=1"])
    flags = [flag for job in fake.jobs.values() for flag in job["flags"] if flag.startswith("dependency=")]
    assert [flag.split(":")[0] for flag in flags] == ["dependency=afterok"]
    (teacher,) = [row.run for row in rows(place).values() if row.kind == "teacher"]
    finish(teacher)
    launch(place, GRID.replace("    baseline: []\n", ""))
    flags = [flag for job in fake.jobs.values() for flag in job["flags"] if flag.startswith("dependency=afterok")]
    assert len(flags) == 1


def test_a_filter_includes_the_teacher_and_a_baseline_needs_none(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, filters=["method=baseline"])
    assert started(fake) == 1
    launch(place, filters=["method=icod", "method.icod.T=2"], limit=1)
    assert started(fake) == 3
    with pytest.raises(InputError, match="did you mean 'method'"):
        launch(place, filters=["methd=icod"])


def test_all_other_runs_wait_for_the_canary(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, canary=7)
    jobs = fake.jobs
    assert started(fake) == 7  # the canary's run has two jobs
    waits = {name: [flag for flag in job["flags"] if flag.startswith("dependency=")] for name, job in jobs.items()}
    teacher, bird, *rest = jobs
    assert waits[teacher] == []
    assert waits[bird] == [f"dependency=afterok:{teacher}"]
    assert rest
    assert all(bird in waits[name][0] for name in rest)


def test_nothing_is_written_when_something_is_wrong(fake: FakeSlurm, place: Workspace) -> None:
    with pytest.raises(InputError, match="unknown parameter of icod 'lambda'"):
        launch(place, GRID.replace("icod: {}", "icod: {lambda: 1}"))
    assert not place.runs.exists()
    world = Workspace(place.runs, place.data, "slurm", Profile(name="p", gpus=7))
    with pytest.raises(InputError, match=r"grid.yaml: \d problems?, nothing was launched"):
        launch(world)
    assert not place.runs.exists()
    assert fake.calls("sbatch") == []


def test_dry_writes_nothing(fake: FakeSlurm, place: Workspace) -> None:
    code, messages, _ = launch(Workspace(place.runs, place.data, "dry", place.profile))
    assert code == 0
    assert any("#SBATCH --dependency=afterok:JOB" in line for line in messages)
    assert not place.runs.exists()
    assert fake.calls("sbatch") == []


def test_another_spec_with_the_same_id_is_refused(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    run = next(iter(rows(place).values())).run
    atomic_write_json(run.spec, {**read_json(run.spec), "init": "torchvision:resnet18.IMAGENET1K_V1"})
    with pytest.raises(InputError, match="has the id of a run of this sweep and another spec"):
        launch(place)


def test_a_damaged_run_is_left_out_and_the_others_are_launched(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    students = [row.run for row in rows(place).values() if row.kind == "student"]
    for row in rows(place).values():
        row.run.job.unlink()
    before = started(fake)
    students[0].spec.write_text('{"format": 1, "na')
    students[1].status.write_text('{"format": 1, "state": "running", "attempt": "x"}')
    code, messages, reasons = launch(place)
    assert (code, started(fake) - before) == (0, 4)
    for run, file in ((students[0], "spec.json"), (students[1], "status.json")):
        assert any(line.startswith(f"warning: {run.id} is damaged and left out: {file} ") for line in messages)
        assert any(line.startswith(f"   damaged  {run.id}") for line in reasons)


def test_a_failed_teacher_blocks_and_retrying_it_releases(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    (teacher,) = [row.run for row in rows(place).values() if row.kind == "teacher"]
    fail(teacher, "nan")
    for number in fake.jobs:
        fake.change(number, state="CANCELLED")
    found = rows(place)
    students = [row for row in found.values() if row.needs]
    assert {row.state for row in students} == {"blocked"}
    assert all(row.reason == f"blocked by {teacher.id} (nan)" for row in students)
    every = list(found.values())
    assert select_retries(every, ids=[]) == []  # code failures are never retried automatically
    before, messages = started(fake), list[str]()
    chosen = select_retries(every, ids=[teacher.id], ignore_backoff=True)
    assert len(chosen) == 1 + len(students)
    record = load_manifest(place.runs, "grid")
    _older(teacher)
    assert relaunch(record, every, chosen, place, messages.append) == 0
    assert started(fake) - before == len(chosen)
    job = read_job(teacher)
    assert job is not None
    assert job.submissions == 2
    assert [death["class"] for death in read_attempts(teacher)] == ["nan"]


def test_a_retry_uses_the_stored_profile_and_skips_runs_submitted_meanwhile(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, filters=["method=baseline"])
    (row,) = [row for row in rows(place).values() if "baseline" in row.run.id]
    fail(row.run, "nan")
    fake.change(next(iter(fake.jobs)), state="FAILED")
    every, messages, record = list(rows(place).values()), list[str](), load_manifest(place.runs, "grid")
    chosen = select_retries(every, classes=["nan"], ignore_backoff=True)
    elsewhere = Workspace(place.runs, place.data, "slurm", Profile(name="another", array_cap=1))
    assert relaunch(record, every, chosen, elsewhere, messages.append) == 0
    job = read_job(row.run)
    assert job is not None
    assert (job.profile, job.submissions) == ("p", 2)  # p is no file and no shipped profile: the store has kept it
    assert relaunch(record, every, chosen, elsewhere, messages.append) == 0
    assert messages[-1] == f"{row.run.id}: launched by another shell meanwhile"
    assert started(fake) == 2


def test_a_run_whose_code_is_missing_is_launched_on_request_only(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    every = list(rows(place).values())
    job = every[0].job
    assert job is not None
    (snapshot_folder(place.runs, job.snapshot) / "c2d" / "core" / "errors.py").unlink()
    assert rows_with_code(every, place.runs, print, started=False) == every  # the current code: it is copied again
    for row in every:
        assert row.job is not None
        write_job(row.run, row.job.model_copy(update={"snapshot": "0123456789abcdef"}))
    for number in fake.jobs:
        fake.change(number, state="FAILED")
    failed, record, before = list(rows(place).values()), load_manifest(place.runs, "grid"), started(fake)
    chosen, messages = select_retries(failed, classes=["unknown"]), list[str]()
    assert len(chosen) == 6
    assert relaunch(record, failed, chosen, place, messages.append) == 1
    assert started(fake) == before
    assert len(messages) == 6
    assert "its code cannot be used" in messages[0]
    assert "--update-code" in messages[0]
    interrupted = every[0].run
    interrupted.write_status("waiting", attempt=1)
    gone = {"where": "local", "job": None, "pid": 2**22 + 1, "snapshot": "0123456789abcdef"}
    write_job(interrupted, job.model_copy(update=gone))
    code, messages, _ = launch(place)
    assert (code, started(fake)) == (1, before)
    assert any(line.startswith(f"{interrupted.id}: not launched, its code cannot be used") for line in messages)
    write_job(interrupted, job.model_copy(update={"snapshot": "0123456789abcdef"}))
    again = list(rows(place).values())
    chosen = select_retries(again, classes=["unknown", "preempted"])
    assert relaunch(record, again, chosen, place, messages.append, RelaunchOptions(update_code=True)) == 0


def _older(run: RunFolder) -> None:
    """The failure is a minute old: stamps have whole seconds."""
    status = read_json(run.status)
    status["heartbeat"] = status["heartbeat"].replace("202", "201", 1)
    atomic_write_json(run.status, status)


def test_a_second_submission_waits_and_names_the_first(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "LOCK_WAIT_S", 0.1)
    with (
        submission_lock(place.runs),
        pytest.raises(InputError, match=f"pid {os.getpid()} on"),
        submission_lock(place.runs),
    ):
        pass
    with submission_lock(place.runs):
        assert (RunStore(place.runs).sweeps / ".submission.lock").exists()


def test_a_local_claim_is_seen_by_the_next_shell(place: Workspace) -> None:
    definition = parse_definition(GRID, "grid.yaml", "grid")
    here = Workspace(place.runs, place.data, "local", place.profile)
    grid = submit.resolve(definition, here)
    record, found = submit.plan_sweep(definition, grid, place.runs)
    tasks = tasks_of(rows_to_launch(found, (), None), definition, None, place.profile)
    for task in tasks:
        atomic_write_json(task.run.spec, submit.specs_of(grid)[task.run.id].to_json())
    tasks[0] = replace(tasks[0], snapshot="begun")
    write_local_jobs(LaunchRequest("grid", place.runs, place.data, tasks, place.profile, "code"))
    _, found = submit.plan_sweep(definition, grid, place.runs)
    assert {(row.state, row.launch) for row in found} == {("waiting", False)}
    kept = {row.run.id: row.job.snapshot for row in found if row.job is not None}
    assert kept == {task.run.id: task.snapshot or "code" for task in tasks}  # what has begun keeps its code
    assert kept[tasks[0].run.id] == "begun"
    assert record["teachers"] == [found[0].run.id]


def test_cancel_changes_only_the_listed_runs(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    found = list(rows(place).values())
    finish(found[0].run)
    picked = [row for row in cancellable(list(rows(place).values())) if "icod" in row.run.id]
    assert len(picked) == 4
    lines = cancel_runs(picked, place.runs).lines
    for number in fake.jobs:
        if len(fake.jobs[number]["states"]) == 4:
            fake.change(number, state="CANCELLED")
    assert lines[0].startswith("cancelled 4 jobs")
    (call,) = fake.calls("scancel")
    assert sorted(word for word in call[1:] if "_" in word or word.isdigit()) == sorted(
        str(row.job.job) for row in picked if row.job
    )
    assert {row.failure_class for row in rows(place).values() if "icod" in row.run.id} == {"cancelled"}
    baseline = next(row for row in rows(place).values() if "baseline" in row.run.id)
    assert baseline.state == "waiting"


def test_the_next_launcher_completes_the_submission_of_a_killed_one(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    row = next(row for row in rows(place).values() if "baseline" in row.run.id)
    assert row.job is not None
    old = "2020-01-01T00:00:00+00:00"
    gone = {"state": "submitting", "job": None, "pid": 2**22 + 1, "submitted": old}
    write_job(row.run, row.job.model_copy(update=gone))
    before = started(fake)
    launch(place)
    assert read_job(row.run) == row.job.model_copy(update={**gone, "state": "submitted", "job": row.job.job})
    assert started(fake) == before
    Path(row.job.folder, "array.json").unlink()  # the launcher died before it could write the number,
    write_job(row.run, row.job.model_copy(update={**gone, "name": "never-submitted"}))
    launch(place)
    assert started(fake) == before + 1  # and SLURM has no job of that name


def test_a_parent_that_a_killed_launcher_may_have_submitted_says_when_to_try_again(
    fake: FakeSlurm, place: Workspace
) -> None:
    launch(place)
    teacher = next(row for row in rows(place).values() if row.kind == "teacher")
    student = next(row for row in rows(place).values() if teacher.run.id in row.needs)
    assert teacher.job is not None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    gone = {"state": "submitting", "job": None, "pid": 2**22 + 1, "submitted": now, "name": "never-submitted"}
    Path(teacher.job.folder, "array.json").unlink()
    write_job(teacher.run, teacher.job.model_copy(update=gone))
    student.run.job.unlink()
    with pytest.raises(Busy, match=r"call the same command again in \d\d s"):
        launch(place)


OTHER = GRID.replace("method.icod.lambda_kc: [0.2, 0.4]", "method.icod.lambda_kc: [0.8]")


def launch_other(place: Workspace) -> list[Row]:
    definition = parse_definition(OTHER, "other.yaml", "other")
    assert submit_sweep(definition, place, forward=False, print_line=lambda line: None) == 0
    return rows_of(place, "other")


def rows_of(place: Workspace, sweep: str) -> list[Row]:
    return read_plan(load_manifest(place.runs, sweep), place.runs)[0]


def fail_teacher(fake: FakeSlurm, place: Workspace) -> RunFolder:
    """The shared teacher fails; SLURM removes the jobs that wait for it, and controller and accounting say so."""
    (teacher,) = [row.run for row in rows(place).values() if row.kind == "teacher"]
    fail(teacher, "node-failure")
    for number, job in fake.jobs.items():
        fake.change(number, state="CANCELLED" if "afterok" in job["dependency"] else "FAILED")
    return teacher


@pytest.mark.parametrize("purged", [False, True])
def test_a_shared_teacher_blocks_and_releases_the_students_of_every_sweep(
    fake: FakeSlurm, place: Workspace, purged: bool
) -> None:
    launch(place, GRID.replace("    baseline: []\n", ""))
    students = [row.run.id for row in launch_other(place) if row.needs]
    assert len(students) == 2
    teacher = fail_teacher(fake, place)
    for number in fake.jobs:
        fake.change(number, purged=purged)  # only accounting knows them
    seen = {row.run.id: row for row in rows_of(place, "other")}
    assert {seen[run].reason for run in students} == {f"blocked by {teacher.id} (node-failure)"}

    every, record, messages = list(rows(place).values()), load_manifest(place.runs, "grid"), list[str]()
    chosen = select_retries(every, ids=[teacher.id])
    assert {row.run.id for row in chosen}.isdisjoint(students)
    before = started(fake)
    _older(teacher)
    other_profile = Profile(name="another", mem_gb=99)
    options = RelaunchOptions(profile=other_profile)
    assert relaunch_with_students(record, every, chosen, place, messages.append, options) == 0
    assert started(fake) - before == len(chosen) + 2
    for run in students:
        assert any(line.startswith(f"retry: {run} of sweep other (blocked by {teacher.id}") for line in messages)
        job = read_job(RunFolder(place.runs / run))
        assert job is not None
        assert (job.profile, job.sweep, job.depends, job.submissions) == ("p", "other", [teacher.id], 2)
    assert {row.state for row in rows_of(place, "other") if row.run.id in students} == {"waiting"}


def test_students_of_a_teacher_that_another_shell_retried_are_released_by_their_own_sweep(
    fake: FakeSlurm, place: Workspace
) -> None:
    launch(place, GRID.replace("    baseline: []\n", ""))
    students = [row.run.id for row in launch_other(place) if row.needs]
    teacher = fail_teacher(fake, place)
    _older(teacher)
    every, record = list(rows(place).values()), load_manifest(place.runs, "grid")
    assert (
        relaunch(record, every, select_retries(every, ids=[teacher.id]), place, print) == 0
    )  # the teacher's sweep alone
    found = rows_of(place, "other")
    assert [row.run.id for row in found if row.is_released] == students
    assert all(f"when {teacher.id} failed" in row.reason for row in found if row.is_released)
    assert [row.run.id for row in pending_retries(found)] == students  # `status --watch` launches them
    assert [row.run.id for row in select_retries(found)] == students
    assert relaunch(load_manifest(place.runs, "other"), found, select_retries(found), place, print) == 0
    assert {row.state for row in rows_of(place, "other") if row.run.id in students} == {"waiting"}
    assert not any(row.is_released for row in rows_of(place, "other"))


def test_a_cancel_by_a_person_is_no_failed_dependency(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, GRID.replace("    baseline: []\n", ""))
    for number, job in fake.jobs.items():
        if "afterok" in job["dependency"]:
            fake.change(number, state="CANCELLED by 1000")
    found = [row for row in rows(place).values() if row.needs]
    assert {(row.state, row.failure_class) for row in found} == {("failed", "cancelled")}
