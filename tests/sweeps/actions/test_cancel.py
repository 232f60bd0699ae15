"""Cancel: what is stopped, what continues where SLURM refuses or is silent; canaries included."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from c2d.core.job_file import read_canary, read_job, write_job
from c2d.core.run_folder import RunFolder
from sweeps.actions import change_waiting
from sweeps.actions.cancel import cancel_runs, cancellable
from sweeps.actions.workspace import Workspace
from sweeps.definition.profile import Profile
from sweeps.scheduler.slurm_command import Unreachable
from sweeps.state.failure_groups import group_failures
from sweeps.state.manifest import load_manifest
from sweeps.state.pending_groups import group_pending
from sweeps.state.plan import Row, read_plan
from sweeps.state.status import summarize
from sweeps.state.store_sweeps import list_sweeps
from tests.sweeps.actions.test_submit import launch
from tests.sweeps.fake_slurm.control import FakeSlurm

pytest.importorskip("submitit")

SEEDS = """
question: Does it run?
base: {dataset: coco2017, student: retinanet-r50, schedule: 1x-dense}
axes: {method: {baseline: []}}
seeds: 3
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "runs", tmp_path / "data", "slurm", Profile(name="p", array_cap=8))


def rows(place: Workspace) -> list[Row]:
    return read_plan(load_manifest(place.runs, "grid"), place.runs)[0]


def numbers(fake: FakeSlurm) -> list[str]:
    return [name for call in fake.calls("scancel") for name in call[1:]]


def test_a_refused_cancel_leaves_the_launch_as_it_was(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, SEEDS)
    before = [row.job for row in rows(place)]
    fake.behave(refused_cancels=["100_1"])
    report = cancel_runs(cancellable(rows(place)), place.runs)
    assert report.refused == 1
    refused = rows(place)[1].run.id
    assert report.lines == [
        "cancelled 2 jobs: 100_0, 100_2",
        f"{refused}: scancel refused job 100_1: Access/permission denied; it continues",
    ]
    after = [read_job(row.run) for row in rows(place)]
    assert after[1] == before[1]
    assert [job.state for job in after if job] == ["cancelled", "submitted", "cancelled"]


@pytest.mark.parametrize("behaviour", [{"silent": ["scancel"]}, {}])
def test_a_cancel_without_an_answer_leaves_every_launch_as_it_was(
    fake: FakeSlurm, place: Workspace, behaviour: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(place, SEEDS)
    found = rows(place)
    fake.behave(**behaviour)
    if not behaviour:  # Ctrl-C while scancel is called

        def interrupt(jobs: object) -> None:
            assert [read_job(row.run).state for row in found] == ["cancelling"] * 3  # type: ignore[union-attr]
            raise KeyboardInterrupt

        monkeypatch.setattr("sweeps.actions.cancel.cancel_jobs", interrupt)
    with pytest.raises((Unreachable, KeyboardInterrupt)):
        cancel_runs(cancellable(found), place.runs)
    assert [read_job(row.run) for row in found] == [row.job for row in found]


def test_a_running_canary_is_shown_cancelled_and_explained(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, SEEDS, canary=5)
    canary, *_ = fake.jobs
    fake.change(canary, state="RUNNING")
    (bird,) = [row for row in rows(place) if row.canary is not None]
    assert (bird.state, bird.reason) == ("running", f"canary: job {canary} on n1, starting")
    assert bird.job is not None
    assert bird.canary is not None
    assert (bird.canary.job, bird.canary.folder == bird.job.folder) == (canary, False)
    bird.run.write_status("running", attempt=1, iteration=3, iterations=9)
    seen = {
        run["run"]: run
        for run in summarize(rows(place), read_plan(load_manifest(place.runs, "grid"), place.runs)[1], 0)["runs"]
    }
    assert (seen[bird.run.id]["state"], seen[bird.run.id]["job"], seen[bird.run.id]["canary"]) == (
        "running",
        canary,
        True,
    )
    assert [run["canary"] for run in seen.values()].count(True) == 1
    ((listed,), _) = list_sweeps(place.runs, time.time())
    assert listed.counts == {"waiting": 2, "running": 1}

    (bird,) = [row for row in rows(place) if row.canary is not None]
    assert bird.job is not None
    report = cancel_runs(cancellable([bird]), place.runs)
    assert report.lines == [f"cancelled 2 jobs: {bird.job.job}, {canary}"]
    assert sorted(numbers(fake)) == sorted([str(bird.job.job), canary])
    for number in fake.jobs:
        fake.change(number, state="CANCELLED")
    bird.run.write_status("failed", attempt=1, failure_class="cancelled", reason="its job was cancelled")
    states = {row.run.id: (row.state, row.failure_class) for row in rows(place)}
    assert states.pop(bird.run.id) == ("failed", "cancelled")
    assert set(states.values()) == {("blocked", None)}


def test_a_canary_that_left_no_record_is_explained_by_its_own_job_and_log(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, SEEDS, canary=5)
    canary, *rest = fake.jobs
    fake.change(canary, state="FAILED", exit=["127:0"])
    for number in rest:
        fake.change(number, state="CANCELLED")
    (bird,) = [row for row in rows(place) if row.canary is not None]
    assert bird.canary is not None
    log = Path(bird.canary.folder) / f"{canary}_0_log.out"
    log.write_text("bash: line 3: python: command not found\n")
    found = rows(place)
    assert [(row.state, row.failure_class) for row in found if row.run == bird.run] == [("failed", "import")]
    others = [row for row in found if row.run != bird.run]
    assert {(row.state, row.reason) for row in others} == {("blocked", f"blocked by the canary {bird.run.id}")}
    (group,) = group_failures(found, read_plan(load_manifest(place.runs, "grid"), place.runs)[1])
    assert (group.failure_class, [row.run.id for row, _ in group.cases]) == ("import", [bird.run.id])
    assert "command not found" in group.text()


def test_a_canary_whose_submission_is_unknown_is_recovered(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, SEEDS, canary=5)
    canary, *_ = fake.jobs
    (run,) = [row.run for row in rows(place) if read_canary(row.run, row.job)]
    known = read_job(run, canary=True)
    assert known is not None
    gone = {"state": "submitting", "job": None, "pid": 2**22 + 1, "submitted": "2020-01-01T00:00:00+00:00"}
    write_job(run, known.model_copy(update=gone), canary=True)
    launch(place, SEEDS)
    assert read_job(run, canary=True) == known.model_copy(update={**gone, "state": "submitted", "job": canary})


def test_a_local_run_of_another_host_is_not_marked(place: Workspace, tmp_path: Path) -> None:
    from sweeps.launchers.launch_request import LaunchRequest, Task
    from sweeps.launchers.local_jobs import write_local_jobs

    run = RunFolder(tmp_path / "runs" / "a")
    write_local_jobs(LaunchRequest("s", place.runs, place.data, [Task(run)], place.profile, "code"))
    job = read_job(run)
    status = {"state": "running", "host": "elsewhere", "pid": os.getpid()}
    report = cancel_runs([Row(run, "student", (), "running", "x", False, status, job)], place.runs)
    assert report.lines == [f"a: runs as pid {os.getpid()} on elsewhere and continues; cancel it on that host"]
    assert (report.refused, read_job(run)) == (1, job)


def test_a_canary_that_never_starts_has_a_hint_and_is_held_and_released(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, SEEDS, canary=5)
    canary, array = fake.jobs
    fake.change(canary, reason="PartitionDown", partition="short")
    fake.change(array, reason="Dependency")
    found, facts = read_plan(load_manifest(place.runs, "grid"), place.runs)
    (group,) = group_pending(found, facts, "grid")
    assert (group.reason, group.commands[-1]) == ("PartitionDown", f"scontrol update jobid={canary} partition=NAME")
    assert change_waiting.hold(found).lines == [f"held: 4 jobs ({canary},{array}_[0-2])"]
    assert change_waiting.release(found).lines == [f"released: 4 jobs ({canary},{array}_[0-2])"]
