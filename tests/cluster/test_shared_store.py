"""One store and a real SLURM: code that is missing, a teacher of two sweeps, a running canary, deleted run folders."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from c2d.core.job_file import read_attempts, read_job
from c2d.core.run_folder import RunFolder
from c2d.data.scenes.make_scenes import make_scenes
from sweeps.launchers.snapshot import snapshot_folder
from tests.cluster.login_node import TEACHER, LoginNode
from tests.cluster.slurm import NODES, Cluster
from tests.cluster.test_submission import TAUGHT, students_of, teacher_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.fixture
def login_node(client: Cluster, tmp_path: Path) -> LoginNode:
    make_scenes(tmp_path / "data" / "scenes", train=12, val=4, size=96, seed=0)
    found = LoginNode(client, tmp_path, tmp_path / "data")
    found.profile()
    return found


def define_long(login_node: LoginNode, name: str, *parts: str) -> None:
    """Runs that train for minutes."""
    login_node.define(name, *parts)
    path = login_node.folder / f"{name}.yaml"
    path.write_text(path.read_text().replace("schedule.iterations: 2", "schedule.iterations: 9000"))


def test_a_job_whose_code_is_missing_stops_with_the_reason(login_node: LoginNode) -> None:
    """python would find another c2d, the installed one."""
    login_node.define("code")
    with login_node.closed():
        login_node.submit("code")
        (run,) = {RunFolder(login_node.runs / name) for name in students_of(login_node, "code")}
        first = login_node.job(run.id)
        (snapshot_folder(login_node.runs, first.snapshot) / "snapshot.json").unlink()
    login_node.cluster.wait_for(str(first.job), "FAILED")
    login_node.until("code", "failed")
    row = login_node.status("code")[run.id]
    assert (row["class"], row["attempt"], row["node"] in NODES) == ("snapshot", 0, True)
    assert "snapshot.json is missing; nothing was trained with other code" in row["reason"]
    (attempt,) = read_attempts(run)
    assert (attempt["class"], attempt["job"], attempt["node"] in NODES) == ("snapshot", first.job, True)
    assert not run.log.exists()
    shown = login_node.sweep("triage", "code").stdout
    assert shown.startswith("snapshot: 1 run\n")
    assert "retry --class snapshot --update-code" in shown
    login_node.sweep("retry", "code", "--class", "snapshot", "--update-code")
    login_node.until("code", "done")


def test_a_teacher_of_two_sweeps_fails_and_its_retry_releases_the_students_of_both(login_node: LoginNode) -> None:
    login_node.define("first", TEACHER, TAUGHT)
    login_node.define("second", TEACHER, TAUGHT, "seeds: [1]")
    with ExitStack() as away:
        with login_node.closed():
            login_node.submit("first")
            login_node.submit("second")
            away.enter_context(login_node.no_images())
        teacher = teacher_of(login_node, "first")
        (one,), (two,) = students_of(login_node, "first"), students_of(login_node, "second")
        login_node.until("first", "failed", runs=[teacher])
        jobs = {run: str(login_node.job(run).job) for run in (teacher, one, two)}
        for run in (one, two):
            login_node.cluster.wait_for(jobs[run], "CANCELLED")
    for sweep, run in (("first", one), ("second", two)):
        row = login_node.status(sweep)[run]
        assert (row["state"], row["class"]) == ("blocked", None)
        assert row["reason"].startswith(f"blocked by {teacher}")
    assert read_attempts(RunFolder(login_node.runs / teacher))[0]["node"] in NODES
    said = login_node.sweep("retry", "first", "--id", teacher).stdout
    assert f"retry: {two} of sweep second (blocked by {teacher}" in said
    assert all(str(login_node.job(run).job) != jobs[run] for run in (teacher, one, two))
    login_node.until("first", "done")
    login_node.until("second", "done")


def test_a_running_canary_is_shown_and_cancelled(login_node: LoginNode) -> None:
    define_long(login_node, "bird", "seeds: 2")
    login_node.submit("bird", "--canary", "8000")
    runs = students_of(login_node, "bird")

    def canary() -> str:
        rows = login_node.status("bird").values()
        return next((row["run"] for row in rows if row["canary"] and row["heartbeat_age_s"] is not None), "")

    login_node.cluster.until(lambda: bool(canary()), "the canary trains", 60)
    run = RunFolder(login_node.runs / canary())
    launched, whole = read_job(run, canary=True), login_node.job(run.id)
    assert launched is not None
    row = login_node.status("bird")[run.id]
    assert (row["state"], row["job"]) == ("running", launched.job)
    said = login_node.sweep("cancel", "bird", "--yes").stdout
    assert f"canary job {launched.job}, job {whole.job}" in said
    assert "cancelled 3 jobs" in said
    login_node.cluster.wait_for(str(launched.job), "CANCELLED")
    login_node.until("bird", "failed", runs=runs)
    assert {row["class"] for row in login_node.status("bird").values()} == {"cancelled"}
    assert read_attempts(run)[-1]["class"] == "cancelled"
    login_node.cluster.until(lambda: not login_node.queued(), "the queue is empty")


def test_deleted_run_folders_are_seen_and_written_again(login_node: LoginNode) -> None:
    define_long(login_node, "gone", "seeds: 2")
    with login_node.closed():
        login_node.submit("gone")
        first, second = (RunFolder(login_node.runs / name) for name in students_of(login_node, "gone"))
        launched = login_node.job(first.id)
        shutil.rmtree(first.path)
        row = login_node.status("gone")[first.id]
        assert (row["state"], row["job"], row["launch"]) == ("waiting", launched.job, False)
        said = login_node.submit("gone")
        assert f"{first.id}: its run folder was deleted, is written again; job {launched.job}" in said
        assert "nothing to launch" in said
        assert (login_node.job(first.id), first.spec.is_file()) == (launched, True)

    def trains(run: RunFolder) -> bool:
        return run.metrics.exists()

    login_node.cluster.until(lambda: trains(first) and trains(second), "both train", 90)
    shutil.rmtree(second.path)
    assert login_node.status("gone")[second.id]["state"] == "running"
    login_node.until("gone", "new", runs=[second.id], seconds=60)  # its process has stopped at a heartbeat
    assert login_node.status("gone")[second.id]["launch"]
    login_node.submit("gone")
    login_node.until("gone", "running", runs=[second.id])
    assert second.spec.is_file()
    assert login_node.status("gone")[first.id]["state"] == "running"
    login_node.sweep("cancel", "gone", "--yes")
    login_node.cluster.until(lambda: not login_node.queued(), "the queue is empty", 60)
