"""What a user of SLURM does beside submitting, on a real one: submit limits, hold, logs, a live view, a mail.

The jobs end in a moment (`quick_jobs`): all that is tested here is between c2d and SLURM.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps.actions.feeder import Feeder, submit_and_wait
from sweeps.actions.workspace import Workspace
from sweeps.cli import app
from sweeps.definition.definition import parse_definition
from sweeps.definition.profile import Hours, Profile
from sweeps.launchers import slurm
from sweeps.watch import kept_queue
from sweeps.watch.watch_loop import WatchedSweeps, watch
from sweeps.watch.watch_view import WatchView
from tests.cluster.quick_jobs import QuickJob
from tests.cluster.slurm import NODES, SEARCH, Cluster, missing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
GRID = """\
question: Does the queue do what a user expects?
base:
  dataset: coco2017
  student: retinanet-r50
  schedule: 1x
axes:
  method:
    plain: []
seeds: {seeds}
"""
NOTIFY = 'echo "$C2D_SUMMARY" >> "{folder}/notes"'


@pytest.fixture(scope="module")
def limited() -> Iterator[Cluster]:
    """A cluster that enforces limits, and whose mails are lines of a file."""
    if reason := missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="c2d-slurm-", dir="/tmp"))
    mail = folder / "mail.sh"
    mail.write_text(f'#!/bin/bash\necho "$@" >> {folder}/mails\n')
    mail.chmod(0o755)
    up = Cluster(folder, extra=f"MailProg={mail}\nAccountingStorageEnforce=limits", max_array=1001)
    try:
        up.start()
        yield up
    finally:
        up.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Desk:
    """A store and a definition, submitted in this process so that quick jobs take the place of trainings."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder, self.runs, self.printed = cluster, folder, folder / "runs", list[str]()

    def feeder(self, seeds: int, **facts: Any) -> Feeder:
        profile = Profile(name="p", gpus=0, cpus=1, mem_gb=0.5, hours=Hours(small=0.1), **facts)
        workspace = Workspace(self.runs, self.folder / "data", "slurm", profile)
        definition = parse_definition(GRID.format(seeds=seeds), "q.yaml", "q")
        return Feeder(definition, workspace, self.printed.append, lambda line: None, forward=False)

    def call(self, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, "--runs", str(self.runs)])
        assert result.exit_code == code, result.output + str(result.exception)
        return result.output

    def lines(self, name: str) -> list[str]:
        path = self.cluster.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def desk(limited: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", str(limited.conf))
    monkeypatch.setenv("PATH", SEARCH)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the quick jobs' module
    monkeypatch.setattr(slurm, "training_job", lambda task, request: QuickJob(str(task.run.path)))
    yield Desk(limited, tmp_path)
    limited.run("sacctmgr -i modify user root set MaxSubmitJobs=-1")
    limited.clear()
    limited.until_idle()


def feed(desk: Desk, seeds: int, limit: int, interval_s: float) -> int:
    """Submit so many cells under a limit, wait for their end, and return the most jobs that were in the queue."""
    desk.cluster.run(f"sacctmgr -i modify user root set MaxSubmitJobs={limit}")
    most = 0

    def sleep(seconds: float) -> None:
        nonlocal most
        most = max(most, len(desk.cluster.run("squeue -hr -t PD,R,CG").stdout.splitlines()))
        time.sleep(seconds)

    feeder = desk.feeder(seeds, notify=NOTIFY.format(folder=desk.cluster.folder), mail="ada@example.org")
    assert submit_and_wait(feeder, interval_s, sleep) == 0, desk.printed
    return most


def assert_all_done_and_one_message(desk: Desk, seeds: int) -> None:
    desk.cluster.until(lambda: bool(desk.lines("mails")), "the mail arrives", 60)
    assert desk.lines("notes") == [f"q: {seeds} done"]
    [mail] = desk.lines("mails")
    assert f"Name=q-ended:{seeds}_done Ended" in mail
    assert mail.endswith("ada@example.org")
    accounted = desk.cluster.run("sacct -nPX -o JobID,JobName,State").stdout.splitlines()
    names = [line.split("|")[1] for line in accounted if "-end" not in line.split("|")[1]]
    assert len(names) == seeds  # every run had one job


def test_twelve_cells_under_a_limit_of_four_and_one_mail(desk: Desk) -> None:
    assert feed(desk, 12, 4, 2.0) <= 4
    assert_all_done_and_one_message(desk, 12)
    assert sum("SLURM accepts no more" in line for line in desk.printed) >= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_hundred_cells_under_a_limit_of_thirty(desk: Desk) -> None:
    before = len(desk.lines("mails"))
    assert feed(desk, 500, 30, 10.0) <= 30
    desk.cluster.until(lambda: len(desk.lines("mails")) == before + 1, "one more mail arrives", 60)
    assert desk.lines("notes")[-1] == "q: 500 done"


def test_a_second_submission_moves_the_job_of_the_message(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process that watches: two submissions end in one message."""
    monkeypatch.setattr(slurm, "training_job", lambda task, request: QuickJob(str(task.run.path), 6.0))
    notes = len(desk.lines("notes"))
    for seeds in (1, 3):
        desk.feeder(seeds, notify=NOTIFY.format(folder=desk.cluster.folder)).fill()
    [end] = [
        line.split()[0] for line in desk.cluster.run("squeue -h -o '%i %j'").stdout.splitlines() if "-end-" in line
    ]
    numbers = {line.split("_")[0] for line in desk.cluster.run("squeue -hr -o %i").stdout.split()} - {end}
    dependency = desk.cluster.field(end, "Dependency")
    assert all(number in dependency for number in numbers), dependency
    assert len(numbers) == 2
    desk.cluster.until(lambda: len(desk.lines("notes")) > notes, "the message arrives", 120)
    assert desk.lines("notes")[notes:] == ["q: 3 done"]


def test_hold_release_nice_cap_names_and_comments(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "training_job", lambda task, request: QuickJob(str(task.run.path), 8.0))
    nodes = f"nodename={','.join(NODES)}"
    desk.cluster.run(f"scontrol update {nodes} state=drain reason=test")
    desk.feeder(6, array_cap=2).fill()
    [array] = {line.split("_")[0] for line in desk.cluster.run("squeue -hr -o %i").stdout.split()}

    def shown(what: str) -> dict[str, str]:
        rows = desk.cluster.run(f"squeue -hr -o '%i|{what}'").stdout.splitlines()
        return dict(row.split("|", 1) for row in rows)

    waiting = shown("%j|%k")
    assert set(waiting) == {f"{array}_{task}" for task in range(6)}
    [name] = {value.split("|")[0] for value in waiting.values()}
    assert name.startswith("plain-s0-5-q-")
    assert waiting[f"{array}_0"].endswith("|6 cells, first method=plain, seed=0")

    assert desk.call("hold", "q", "--filter", "seed=1", "--filter", "seed=4", "--filter", "seed=5") == (
        f"held: 3 jobs ({array}_[1,4-5])\n"
    )
    assert {job for job, priority in shown("%Q").items() if priority == "0"} == {f"{array}_{n}" for n in (1, 4, 5)}
    said = desk.call("nice", "q", "50").splitlines()
    assert said == [
        f"set to nice 50: 3 jobs ({array}_[0,2-3])", f"not changed: 3 jobs ({array}_[1,4-5]): held; release it first",
    ]  # fmt: skip
    assert {job for job, nice in shown("%y").items() if nice == "50"} == {f"{array}_{n}" for n in (0, 2, 3)}
    assert desk.call("cap", "q", "3") == f"job {array}: 6 runs, 3 at once (was 2)\n"
    assert desk.cluster.field(f"{array}_0", "ArrayTaskThrottle") == "3"

    desk.cluster.run(f"scontrol update {nodes} state=resume")
    desk.cluster.until(lambda: list(shown("%T").values()).count("RUNNING") == 3, "three run at once", 60)
    desk.cluster.until(lambda: "plain-s0-q|method=plain, seed=0" in shown("%j|%k").values(), "a run has its name", 30)
    desk.cluster.until(lambda: set(shown("%i")) == {f"{array}_{n}" for n in (1, 4, 5)}, "the others have ended", 60)
    assert "JobHeld" in desk.call("status", "q")
    assert desk.call("release", "q", "--filter", "seed=4") == f"released: 1 job ({array}_4)\n"
    desk.cluster.until(lambda: f"{array}_4" not in shown("%i"), "the released one has ended", 60)
    assert desk.call("release", "q") == f"released: 2 jobs ({array}_[1,5])\n"
    desk.cluster.until(lambda: not shown("%i"), "all have ended", 90)


def test_logs_are_followed_across_a_requeue_to_the_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "training_job", lambda task, request: QuickJob(str(task.run.path), 600.0))
    desk.feeder(1).fill()
    [job] = desk.cluster.run("squeue -h -o %i").stdout.split()
    words = [sys.executable, "-m", "c2d", "sweep", "logs", "q", "-f", "--runs", str(desk.runs)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=desk.folder) as follower:
        try:
            desk.cluster.until(lambda: "start 0 of" in desk.call("logs", "q"), "its first start prints", 90)
            desk.cluster.run(f"scontrol requeue {job}")
            desk.cluster.until(lambda: desk.cluster.field(job, "Restarts") == "1", "it is requeued", 60)
            desk.cluster.until(lambda: desk.cluster.state(job) == "PENDING", "it waits again", 60)
            time.sleep(2)  # started within the second of its requeue, SLURM 22.05 refuses its credential
            desk.cluster.release(job)
            printed = follower.communicate(timeout=120)[0].splitlines()
        finally:
            follower.kill()
    assert follower.returncode == 0, printed
    starts = [line for line in printed if "c2d attempt begins" in line]
    assert [line.split(": ")[1][:7] for line in starts] == ["start 0", "start 1"]
    assert any(line.startswith(f"==> {desk.runs}/sweeps/q/") and f"(job {job})" in line for line in printed)
    assert ": done, finished" in printed[-1]


def test_a_live_view_shows_what_slurm_does_with_few_questions(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs are shorter than the 30 s between two questions, so these are 6 s here."""
    monkeypatch.setattr(kept_queue, "QUEUE_S", 6.0)
    monkeypatch.setattr(slurm, "training_job", lambda task, request: QuickJob(str(task.run.path), 12.0))
    desk.feeder(4, array_cap=2).fill()
    sweeps, views, begun = WatchedSweeps(desk.runs, ["q"]), list[WatchView](), time.monotonic()
    last = watch(sweeps, views.append, 1.0)
    took_s = time.monotonic() - begun
    seen = [view.sweeps[0] for view in views]
    assert max(len(sweep.running) for sweep in seen) == 2
    assert {row.place.split()[-1] for sweep in seen for row in sweep.running} <= {*NODES}
    assert any("pending (JobArrayTaskLimit)" in group.reason for sweep in seen for group in sweep.waiting)
    assert last.sweeps[0].counts == {"done": 4}
    assert not last.has_failed
    assert sweeps.reader.queue.calls <= took_s / 6 + 1
    assert len(views) > 3 * sweeps.reader.queue.calls
