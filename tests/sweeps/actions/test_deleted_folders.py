"""A run folder that somebody deleted: of a waiting job, of a running one, of a teacher; and where a retry trains."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from c2d.core.errors import InputError, RunError
from c2d.core.job_file import read_job
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.core.store_folder import RunStore
from c2d.core.sweep_manifest import write_manifest
from sweeps.actions.cancel import cancel_runs, cancellable
from sweeps.actions.relaunch import relaunch
from sweeps.actions.submit import plan_sweep, resolve
from sweeps.actions.workspace import Workspace
from sweeps.commands.command_options import with_known_launcher
from sweeps.definition.definition import parse_definition
from sweeps.definition.profile import Profile
from sweeps.state.manifest import load_manifest
from sweeps.state.plan import Row, read_plan
from tests.sweeps.actions.test_submit import GRID, finish, launch, started
from tests.sweeps.fake_slurm.control import FakeSlurm

pytest.importorskip("submitit")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs", tmp_path / "data", "slurm", Profile(name="p", array_cap=8))


def rows(place: Workspace) -> dict[str, Row]:
    return {row.run.id: row for row in read_plan(load_manifest(place.runs, "grid"), place.runs)[0]}


def icod(place: Workspace) -> Row:
    return next(row for row in rows(place).values() if "icod" in row.run.id)


def test_a_folder_of_a_waiting_job_is_written_again_and_not_launched_again(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    row, before = icod(place), started(fake)
    spec = read_json(row.run.spec)
    shutil.rmtree(row.run.path)
    seen = rows(place)[row.run.id]
    assert (seen.state, seen.launch, seen.job) == ("waiting", False, row.job)
    assert seen.reason.endswith("; its run folder was deleted, `submit` writes it again")
    _, messages, _ = launch(place)
    assert started(fake) == before
    assert any(line.startswith(f"{row.run.id}: its run folder was deleted, is written again") for line in messages)
    assert (read_json(row.run.spec), read_job(row.run)) == (spec, row.job)
    assert rows(place)[row.run.id] == row


def test_a_job_without_a_folder_can_be_cancelled(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    row = icod(place)
    assert row.job is not None
    shutil.rmtree(row.run.path)
    report = cancel_runs(cancellable([rows(place)[row.run.id]]), place.runs)
    assert report.lines == [f"cancelled 1 jobs: {row.job.job}"]


def test_a_folder_of_a_running_job_is_launched_again_once_that_has_stopped(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    row, before = icod(place), started(fake)
    for number in fake.jobs:
        fake.change(number, state="RUNNING")
    shutil.rmtree(row.run.path)
    seen = rows(place)[row.run.id]
    assert (seen.state, seen.launch) == ("running", False)
    assert "its run folder was deleted, the job stops at its next heartbeat" in seen.reason
    launch(place)
    assert started(fake) == before
    assert not row.run.path.exists()
    row.run.write_status("failed", failure_class="config", reason="deleted")  # what the job leaves
    assert row.job is not None
    fake.change(str(row.job.job).split("_")[0], state="FAILED")
    seen = rows(place)[row.run.id]
    assert (seen.state, seen.launch) == ("new", True)
    launch(place, filters=[f"{axis}={label}" for axis, label in seen.cells[0].items()])
    assert started(fake) > before
    assert row.run.spec.is_file()
    assert rows(place)[row.run.id].state == "waiting"


def test_without_an_answer_of_slurm_nothing_is_called_new(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    row = icod(place)
    shutil.rmtree(row.run.path)
    fake.behave(silent=["squeue", "sacct"])
    seen = rows(place)[row.run.id]
    assert (seen.state, seen.launch, seen.is_last_known) == ("waiting", False, True)


def test_waiting_students_wait_for_a_teacher_that_is_trained_again(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, filters=["method=baseline"])
    (teacher,) = [row.run for row in rows(place).values() if row.kind == "teacher"]
    finish_first(fake, place, teacher)
    students = [row for row in rows(place).values() if row.needs]
    assert {tuple(row.job.depends) for row in students if row.job} == {()}
    shutil.rmtree(teacher.path)
    assert rows(place)[teacher.id].reason == "its run folder was deleted; `submit` writes it again"
    _, messages, _ = launch(place, filters=["method=icod"])
    job = read_job(teacher)
    assert job is not None
    updates = [call[2:] for call in fake.calls("scontrol") if call[1:2] == ["update"]]
    wanted = [[f"jobid={row.job.job}", f"dependency=afterok:{job.job}"] for row in students if row.job]
    assert sorted(updates) == sorted(wanted)
    assert sum(f"now waits for {teacher.id}, which is trained again" in line for line in messages) == len(students)
    assert all(row.job.depends == [teacher.id] for row in rows(place).values() if row.needs and row.job)


def finish_first(fake: FakeSlurm, place: Workspace, teacher: RunFolder) -> None:
    """Train the teacher, then submit the students, which do not wait for it."""
    launch(place, GRID, filters=["method=icod", "method.icod.T=1"])
    for number in fake.jobs:
        fake.change(number, state="COMPLETED")
    finish(teacher)
    for row in rows(place).values():
        if row.needs:
            shutil.rmtree(row.run.path, ignore_errors=True)
    launch(place)


def test_a_retry_of_an_unknown_launch_goes_where_the_sweep_was(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    manifest = load_manifest(place.runs, "grid")
    assert (manifest["where"], manifest["profile"]) == ("slurm", "p")
    baseline = next(row for row in rows(place).values() if "baseline" in row.run.id)
    baseline.run.job.unlink()
    baseline.run.write_status("failed", attempt=1, failure_class="nan", reason="because")
    here = replace(place, where="local", profile=Profile(name="login"))  # what a retry without --where has
    unknown = replace(baseline, state="failed", failure_class="nan", job=None, status=baseline.run.read_status())
    before = started(fake)
    assert relaunch(manifest, [unknown], [unknown], here, print) == 0
    assert started(fake) == before + 1
    job = read_job(baseline.run)
    assert job is not None
    assert (job.where, job.profile) == ("slurm", "p")
    nowhere = {key: value for key, value in manifest.items() if key not in ("where", "profile")}
    with pytest.raises(InputError, match="no launch of it is known; give --where slurm, or --where local"):
        relaunch(nowhere, [unknown], [unknown], here, print)
    assert started(fake) == before + 1


def test_a_submission_without_where_goes_where_the_sweep_was(fake: FakeSlurm, place: Workspace) -> None:
    here = replace(place, where="local", profile=Profile(name="login"))
    assert with_known_launcher(here, "grid", None) == here
    launch(place)
    assert with_known_launcher(here, "grid", None) == place
    with pytest.raises(InputError, match="unknown profile"):
        with_known_launcher(here, "grid", "nowhere")
    assert RunStore(place.runs).manifest("grid").is_file()


def test_a_training_whose_folder_was_deleted_stops(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_status("running", attempt=1, begun=1e9)
    run.write_status("running", stage="fit", iteration=3)
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match="the run folder was deleted while it trained") as caught:
        run.touch_heartbeat("fit")
    assert caught.value.failure_class == "config"
    assert not run.path.exists()
    atomic_write_json(run.spec, {})
    run.write_status("failed", reason=str(caught.value), failure_class="config")
    assert run.read_status()["state"] == "failed"


def test_a_run_of_this_machine_whose_folder_was_deleted_is_launched_again(place: Workspace) -> None:
    """Deleted while it trained: the process ended with a failure, in a folder that has no spec and no launch."""
    local = replace(place, where="local")
    sweep = parse_definition(GRID, "grid.yaml", "grid")
    record, planned = plan_sweep(sweep, resolve(sweep, local), local.runs)
    write_manifest(local.runs, record)
    (row, *_) = planned
    row.run.write_status("failed", attempt=1, failure_class="disk", reason="cannot write metrics.jsonl")
    seen = rows(local)[row.run.id]
    assert (seen.state, seen.launch, seen.reason) == (
        "new", True, "its run folder was deleted; `submit` writes it again",
    )  # fmt: skip
    atomic_write_json(row.run.spec, {})
    assert rows(local)[row.run.id].state == "failed", "a run of `c2d train`"
