"""A sweep whose runs wait for runs that wait: detector, synthesis, control, student; on a fake SLURM, without data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from c2d.core.job_file import read_job, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from c2d.core.store_folder import RunStore
from c2d.data.card import Synthesis
from c2d.data.make_card import make_card
from c2d.data.public import public_cards
from sweeps.actions.gc import plan_removals
from sweeps.actions.relaunch import relaunch
from sweeps.actions.release_students import relaunch_with_students
from sweeps.actions.select_retries import select_retries
from sweeps.actions.submit import submit_sweep
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import parse_definition
from sweeps.definition.profile import Hours, Profile, store_profile
from sweeps.launchers.dry import cost_key
from sweeps.state.manifest import load_manifest
from sweeps.state.plan import Row, read_plan
from sweeps.state.status import summarize
from sweeps.state.store_sweeps import list_sweeps
from tests.sweeps.fake_slurm.control import FakeSlurm

pytest.importorskip("submitit")

GRID = """
question: How much of the gap do impressions close?
base: {dataset: coco2017, student: retinanet-r18, schedule: 1x-dense}
teachers:
  detector: {student: retinanet-r50, schedule: 1x-dense}
  impressions: {schedule: moi}
axes:
  images:
    impressions: {data_free: true}
    noise: {data_free: true, teacher.impressions.schedule.images_from: noise}
    labelled: {data_free: false}
seeds: 2
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    profile = Profile(name="p", array_cap=8, hours=Hours(small=3.0))
    return Workspace(tmp_path / "runs", tmp_path / "data", "slurm", profile)


def launch(place: Workspace, text: str = GRID, name: str = "grid", **how: Any) -> tuple[int, list[str], list[str]]:
    messages, reasons = list[str](), list[str]()
    definition = parse_definition(text, f"{name}.yaml", name)
    code = submit_sweep(definition, place, forward=False, print_line=messages.append, print_run=reasons.append, **how)
    return code, messages, reasons


def plan(place: Workspace, name: str = "grid") -> list[Row]:
    return read_plan(load_manifest(place.runs, name), place.runs)[0]


def chain(place: Workspace) -> tuple[RunFolder, RunFolder, RunFolder]:
    """The detector, the synthesis and its control."""
    detector, made, noise = (row.run for row in plan(place) if row.kind == "teacher")
    return detector, made, noise


def finish(run: RunFolder) -> None:
    run.write_status("done")
    run.student.touch()  # without weights it would be made again
    atomic_write_json(run.result, {"format": 1})


def finish_synthesis(run: RunFolder) -> None:
    """Write the card that a finished synthesis has; its images are not looked at."""
    classes = list(public_cards()["coco2017"].classes)
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 32, 32], "area": 1024, "iscrowd": 0}
    images = [{"id": 1, "file_name": "1.png", "width": 64, "height": 64}]
    atomic_write_json(run.train_annotations, {"images": images, "annotations": [box], "categories": categories})
    run.train_images.mkdir()
    spec = read_json(run.spec)
    made = {"images_from": spec["schedule"]["values"]["images_from"], "run": run.id, "schedule": "moi", "teacher": "t"}
    synthesis = Synthesis.model_validate({**made, "teacher_sha256": "a" * 64, "soft_labels": False})
    files = {"train": (run.train_annotations, run.train_images)}
    card = make_card(run.path, run.id, classes, files, synthesis=synthesis)
    run.write_status("done")
    atomic_write_json(run.result, {"format": 1, "card_digest": card.digest})


def fail(run: RunFolder) -> None:
    run.write_status("failed", attempt=1, failure_class="nan", reason="because")


def age(run: RunFolder) -> None:
    """Make a failure older than the next launch: stamps have whole seconds."""
    status = read_json(run.status)
    status["heartbeat"] = status["heartbeat"].replace("202", "201", 1)
    atomic_write_json(run.status, status)


def waits(fake: FakeSlurm, runs: Iterable[RunFolder]) -> list[list[str]]:
    """For each run the jobs in the afterok flag of its newest job."""
    found = []
    for run in runs:
        job = read_job(run)
        assert job is not None
        assert job.job is not None
        flag = fake.jobs[job.job.partition("_")[0]]["dependency"]
        found.append([part for part in flag.partition("afterok:")[2].partition(",")[0].split(":") if part])
    return found


def jobs_of(*runs: RunFolder) -> list[str]:
    found = []
    for run in runs:
        job = read_job(run)
        assert job is not None
        assert job.job is not None
        found.append(job.job)
    return found


def students(place: Workspace, label: str) -> list[RunFolder]:
    return [row.run for row in plan(place) if row.cells and row.cells[0]["images"] == label]


def cancelled_by_slurm(fake: FakeSlurm) -> None:
    for number in fake.jobs:
        fake.change(number, state="CANCELLED")


def test_every_run_waits_for_the_runs_that_it_uses(fake: FakeSlurm, place: Workspace) -> None:
    code, _, reasons = launch(place)
    assert code == 0
    assert len(reasons) == 3 + 6
    detector, made, noise = chain(place)
    assert [run.id.rpartition("-")[0][:-13] for run in (detector, made, noise)] == [
        "retinanet-r50-baseline", "moi-impressions", "moi-impressions",
    ]  # fmt: skip
    assert waits(fake, [detector, made]) == [[], jobs_of(detector)]
    assert sorted(waits(fake, [noise])[0]) == sorted(jobs_of(detector, made))
    assert waits(fake, students(place, "impressions")) == [jobs_of(made)] * 2
    assert waits(fake, students(place, "noise")) == [jobs_of(noise)] * 2
    assert waits(fake, students(place, "labelled")) == [[]] * 2
    limit = [flag for flag in fake.jobs[jobs_of(made)[0]]["flags"] if flag.startswith("time=")]
    assert limit == ["time=180"]  # that of every run of the definition's size


def test_a_filter_launches_the_whole_chain_of_a_cell(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, filters=["images=noise", "seed=1"])
    detector, made, noise = chain(place)
    launched = [row.run for row in plan(place) if row.job is not None]
    assert launched == [detector, made, noise, students(place, "noise")[1]]
    launch(place, filters=["images=impressions"], limit=1)  # its teachers are in the queue
    (student,) = [run for run in students(place, "impressions") if read_job(run)]
    assert waits(fake, [student]) == [jobs_of(made)]


def test_what_is_done_is_no_dependency(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, filters=["images=impressions"])
    detector, made, noise = chain(place)
    finish(detector)
    finish_synthesis(made)
    launch(place)
    assert waits(fake, [noise, *students(place, "noise")]) == [[], jobs_of(noise), jobs_of(noise)]


def test_a_failure_blocks_everything_after_it_and_a_retry_releases_it(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    detector, made, noise = chain(place)
    finish(detector)
    fail(made)
    cancelled_by_slurm(fake)
    states = {row.run.id: (row.state, row.reason) for row in plan(place)}
    assert states[made.id][0] == "failed"
    assert states[noise.id] == ("blocked", f"blocked by {made.id} (nan)")
    assert {states[run.id] for run in students(place, "noise")} == {("blocked", f"blocked by {noise.id} (blocked)")}
    rows = plan(place)
    retried = select_retries(rows, ids=[made.id], ignore_backoff=True)
    assert [row.run for row in retried] == [
        made, noise, *students(place, "impressions"), *students(place, "noise"),
    ]  # fmt: skip
    (one,) = [row.run for row in select_retries(rows, classes=["nan"], limit=1) if row.kind == "student"]
    assert one == students(place, "impressions")[0]
    age(made)
    assert relaunch(load_manifest(place.runs, "grid"), rows, retried, place, lambda _: None) == 0
    assert waits(fake, [made, noise]) == [[], jobs_of(made)]
    assert waits(fake, students(place, "noise")) == [jobs_of(noise)] * 2
    assert {row.state for row in plan(place) if row.run in [one.run for one in retried]} == {"waiting"}


def test_runs_of_one_chain_may_have_had_several_profiles(fake: FakeSlurm, place: Workspace) -> None:
    """The control was launched as the detector was, the synthesis between them otherwise."""
    launch(place, filters=["images=noise"])
    detector, made, noise = chain(place)
    other = Profile(name="q", array_cap=4)
    store_profile(place.runs, "grid", other)
    fail(detector)
    cancelled_by_slurm(fake)
    limited = select_retries(plan(place), classes=["nan"], filters=["images=noise"], limit=1)
    assert [row.run for row in limited] == [detector, made, noise, students(place, "noise")[0]]
    rows = [
        replace(row, job=row.job.model_copy(update={"profile": "q"})) if row.run == made and row.job else row
        for row in plan(place)
    ]
    for row in rows:
        if row.run == made and row.job is not None:
            write_job(row.run, row.job)
    age(detector)
    chosen = select_retries(rows, classes=["nan"])
    assert relaunch(load_manifest(place.runs, "grid"), rows, chosen, place, lambda _: None) == 0
    assert waits(fake, [made]) == [jobs_of(detector)]
    assert sorted(waits(fake, [noise])[0]) == sorted(jobs_of(detector, made))


def test_students_of_another_sweep_are_released_with_their_chain(fake: FakeSlurm, place: Workspace) -> None:
    launch(place, filters=["images=impressions"])
    launch(place, GRID.replace("seeds: 2", "seeds: [7]"), "other", filters=["images=noise"])
    detector, _, noise = chain(place)
    fail(detector)
    cancelled_by_slurm(fake)
    rows, printed = plan(place), list[str]()
    chosen = select_retries(rows, ids=[detector.id])
    age(detector)
    assert relaunch_with_students(load_manifest(place.runs, "grid"), rows, chosen, place, printed.append) == 0
    (student,) = [row.run for row in plan(place, "other") if row.cells and row.cells[0]["images"] == "noise"]
    assert waits(fake, [student]) == [jobs_of(noise)]
    assert any(line.startswith(f"retry: {student.id} of sweep other") for line in printed)


def test_state_list_and_dry_run_know_the_third_kind(fake: FakeSlurm, place: Workspace) -> None:
    _, printed, _ = launch(replace(place, where="dry"))
    made = [line.split()[1] for line in printed if line.startswith("  JOB") and "impressions" in line]
    assert len(made) == 2
    assert any("--dependency=afterok:JOB" in line for line in printed)
    launch(place)
    detector, synthesis, noise = chain(place)
    finish(detector)
    synthesis.write_status("running", stage="fit", iteration=500, iterations=2000, begun=1.0)
    specs = [read_json(run.spec) for run in (synthesis, noise)]
    assert cost_key(specs[0]) != cost_key(specs[1])
    longer = read_json(synthesis.spec)
    longer["schedule"]["values"]["final"]["iterations"] = 9
    assert cost_key(longer) != cost_key(specs[0])
    shown = {run["run"]: run for run in summarize(plan(place), {}, 2e9)["runs"]}
    assert (shown[synthesis.id]["iteration"], shown[synthesis.id]["iterations"]) == (500, 2000)
    fail(synthesis)
    cancelled_by_slurm(fake)
    (counted,), _ = list_sweeps(place.runs, 2e9)
    assert (counted.counts["blocked"], counted.runs) == (1 + 4, 9)


def test_gc_keeps_the_images_and_the_newest_state(fake: FakeSlurm, place: Workspace) -> None:
    launch(place)
    _, made, _ = chain(place)
    for name in ("train/0001.png", "annotations/train.json", "card.json", "sheet.png", "diagnostics.html"):
        (made.path / name).parent.mkdir(exist_ok=True)
        (made.path / name).write_bytes(b"kept")
    finish(made)
    for number in fake.jobs:
        fake.change(number, state="COMPLETED")
    assert [one.path for one in plan_removals(plan(place), place.runs) if one.path.is_relative_to(made.path)] == []


def test_a_sweep_that_was_planned_before_is_still_the_same(fake: FakeSlurm, place: Workspace) -> None:
    """spec.json of a labelled run has the keys that it always had."""
    launch(place)
    spec = read_json(students(place, "labelled")[0].spec)
    assert "data_free" not in spec
    assert set(spec["teachers"]) == {"classifier", "detector"}
    assert read_json(students(place, "noise")[0].spec)["data_free"] is True
    assert launch(place)[1][-1] == "nothing to launch"
    assert RunStore(place.runs).manifest("grid").exists()
