"""`submit --wait`: 12 cells under a limit of 4 without typing again; a controller that is down; Ctrl-C."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.actions.feeder import Feeder, submit_and_wait
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import parse_definition
from sweeps.definition.profile import Profile
from sweeps.launchers import submission
from sweeps.scheduler import sbatch
from tests.sweeps.fake_slurm.control import FakeSlurm

pytest.importorskip("submitit")

GRID = """\
question: Do all runs reach the queue?
base:
  dataset: coco2017
  student: retinanet-r50
  schedule: 1x
seeds: {seeds}
"""


class Cluster:
    """A store, a fake SLURM with a limit, and what the feeder prints; every interval two runs end."""

    def __init__(self, folder: Path, fake: FakeSlurm, limit: int = 4) -> None:
        self.fake, self.limit, self.printed = fake, limit, list[str]()
        self.workspace = Workspace(folder / "runs", folder / "data", "slurm", Profile(gpus=0, cpus=1))
        self.slept = 0
        self.most = 0
        fake.behave(max_submit=limit)

    def feeder(self, seeds: int = 5, **facts) -> Feeder:
        definition = parse_definition(GRID.format(seeds=seeds), "grid.yaml", "grid")
        return Feeder(definition, self.workspace, self.printed.append, lambda line: None, forward=False, **facts)

    def active(self) -> list[tuple[str, int]]:
        jobs = self.fake.jobs.items()
        return [
            (number, task) for number, job in jobs for task, state in enumerate(job["states"]) if state == "PENDING"
        ]

    def end_two(self, _: float = 0.0) -> None:
        self.slept += 1
        assert self.slept < 60, self.printed
        self.most = max(self.most, len(self.active()))
        for number, task in self.active()[:2]:
            jobs = self.fake.jobs
            jobs[number]["states"][task] = "COMPLETED"
            (self.fake.state / "jobs.json").write_text(json.dumps(jobs))
            run = submission.read_folders(Path(jobs[number]["script"]).parent)[task]
            atomic_write_json(run.result, {})
            run.write_status("done")

    def done(self) -> int:
        return sum(RunFolder(path).try_read_status()["state"] == "done" for path in self.workspace.runs.glob("*-s*"))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(sbatch, "sleep", lambda _: None)
    return Cluster(tmp_path, FakeSlurm(tmp_path / "slurm", monkeypatch))


def test_twelve_cells_under_a_limit_of_four(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def take_snapshot(runs: Path) -> str:
        taken.append(f"code{len(taken)}")
        return taken[-1]

    monkeypatch.setattr("sweeps.actions.feeder.take_snapshot", take_snapshot)
    assert submit_and_wait(cluster.feeder(12), sleep=cluster.end_two) == 0
    assert cluster.done() == 12
    assert cluster.most == 4  # the limit is used in full
    runs = [str(run.path) for job in cluster.fake.jobs.values() for run in folders(job)]
    assert len(runs) == len(set(runs)) == 12  # every run is submitted once
    assert sum("SLURM accepts no more of your jobs now, the rest follows" in line for line in cluster.printed) >= 3
    assert taken == ["code0"]  # all parts have the code of the first one
    assert cluster.slept <= 8  # 12 runs, 2 ended an interval


def folders(job: dict) -> list[RunFolder]:
    return submission.read_folders(Path(job["script"]).parent)


def test_a_controller_that_is_down_for_a_while_is_waited_for(cluster: Cluster) -> None:
    def sleep(_: float) -> None:
        if cluster.slept == 0:
            cluster.fake.behave(max_submit=4, silent=["squeue", "sbatch", "scontrol", "sacct"])
        if cluster.slept == 2:
            cluster.fake.behave(max_submit=4)
        cluster.end_two()

    assert submit_and_wait(cluster.feeder(), sleep=sleep) == 0
    assert cluster.done() == 5
    assert any(line.startswith("warning: SLURM does not answer") for line in cluster.printed)


def test_after_ctrl_c_the_same_command_continues(cluster: Cluster) -> None:
    def interrupt(_: float) -> None:
        if cluster.slept == 0:
            raise KeyboardInterrupt
        cluster.end_two()

    with pytest.raises(KeyboardInterrupt):
        submit_and_wait(cluster.feeder(), sleep=interrupt)
    assert submit_and_wait(cluster.feeder(), sleep=cluster.end_two) == 0
    runs = [str(run.path) for job in cluster.fake.jobs.values() for run in folders(job)]
    assert len(runs) == len(set(runs)) == 5


def test_a_limit_of_runs_is_for_all_parts_together(cluster: Cluster) -> None:
    assert submit_and_wait(cluster.feeder(limit=3), sleep=cluster.end_two) == 0
    assert cluster.done() == 3


def test_a_refusal_for_another_reason_ends_it_and_failed_runs_are_exit_code_1(cluster: Cluster) -> None:
    cluster.fake.behave(sbatch=["partition"])
    with pytest.raises(InputError, match="Invalid partition name"):
        submit_and_wait(cluster.feeder(), sleep=cluster.end_two)
    assert cluster.fake.jobs == {}
    cluster.fake.behave()

    def fail(_: float) -> None:
        cluster.fake.change(next(iter(cluster.fake.jobs)), state="FAILED")
        for path in cluster.workspace.runs.glob("*-s*"):
            RunFolder(path).write_status("failed", reason="x", failure_class="user-code")

    assert submit_and_wait(cluster.feeder(), sleep=fail) == 1
    assert "5 failed" in cluster.printed[-2] + cluster.printed[-1] + cluster.printed[-3]
