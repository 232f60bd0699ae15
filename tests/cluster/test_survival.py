"""A training survives everything a cluster does to it, and ends with the weights of an undisturbed one.

Real runs of the tiny student on the emulated SLURM, submitted by `sweeps.actions.submit`. Asserted is what a user sees:
attempts.jsonl, status.json, the result, the final weights.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from c2d.core.run_folder import RunFolder
from c2d.training import checkpoint
from sweeps.definition.profile import Hours
from sweeps.failures.retry_policy import exhausted
from tests.cluster.slurm import Cluster
from tests.cluster.trial import Trial, assert_equal, undisturbed

pytestmark = pytest.mark.cluster

SHORT, LONG, SLICED = 600, 1500, 9000  # iterations of some 20 ms; a checkpoint every tenth of them
EARLY = 100
Reference = Callable[[int], RunFolder]
_HERE = Path(__file__)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from c2d.data.scenes.make_scenes import make_scenes

    root = tmp_path_factory.mktemp("data")
    make_scenes(root / "scenes", train=20, val=100, size=96, seed=0)
    return root


@pytest.fixture(scope="module")
def reference(
    data: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Reference]:
    """Runs that nobody disturbed. They train beside the first tests, on the machine's other core."""
    root = tmp_path_factory.mktemp("undisturbed")
    with_campaign = any(item.get_closest_marker("slow") for item in request.session.items if item.path == _HERE)
    process = undisturbed(root, data, SHORT, *((LONG, SLICED) if with_campaign else ()))

    def of(iterations: int) -> RunFolder:
        folder = RunFolder(next((root / str(iterations)).glob("tiny-*")))
        until = time.monotonic() + 300
        while folder.read_status()["state"] != "done":
            assert time.monotonic() < until, (root / "log").read_text()
            assert process.poll() in (None, 0), (root / "log").read_text()
            time.sleep(0.5)
        return folder

    try:
        yield of
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def short(client: Cluster, tmp_path: Path, data: Path, reference: Reference) -> Trial:
    return Trial(client, tmp_path / "runs", data, SHORT)


def test_preempted(short: Trial, client: Cluster, reference: Reference) -> None:
    short.until_iteration(EARLY)
    urgent = client.submit("sleep 1", "-p", "urgent", "-w", client.field(short.job, "BatchHost"), "-c2")
    short.until_requeued()
    assert short.status["state"] == "waiting"
    assert short.row.state == "waiting"
    assert short.row.reason.startswith("requeued, continues")
    client.wait_for(urgent, "COMPLETED")
    short.release()
    short.until_done()
    (death,) = short.deaths
    assert death["class"] == "preempted"
    assert death["requeued"]
    assert death["lost_s"] == 0
    assert short.starts == [death["iteration"]]
    assert death["iteration"] >= EARLY
    assert short.restarts() == 1
    assert short.status["attempt"] == 2
    assert_equal(short.run, reference(SHORT))


@pytest.mark.slow
def test_its_node_goes_down(short: Trial, client: Cluster, reference: Reference) -> None:
    short.until_iteration(EARLY)
    client.down(client.field(short.job, "BatchHost"))
    short.until_requeued()
    short.release()
    short.until_done()
    assert short.classes == ["node-failure"]
    assert short.restarts() == 1
    assert short.starts
    assert short.starts[0] >= EARLY
    assert_equal(short.run, reference(SHORT))


def test_killed_outright_and_its_newest_checkpoint_is_damaged(short: Trial, reference: Reference) -> None:
    short.until(lambda: len(checkpoint.list_checkpoints(short.run)) == 2, "two checkpoints")
    assert short.signal(signal.SIGKILL)
    short.until_requeued()
    older, newest = checkpoint.list_checkpoints(short.run)
    newest.write_bytes(newest.read_bytes()[:1000])
    short.release()
    short.until_done()
    (death,) = short.deaths
    assert death["class"] == "killed"
    assert death["by"] == "after"
    assert death["exit_code"] == 137
    assert death["requeued"]
    assert short.starts == [int(older.stem.removeprefix("iter_"))]
    (warning,) = [line for line in short.run.log.read_text().splitlines() if "falling back" in line]
    assert newest.name in warning
    assert_equal(short.run, reference(SHORT))


@pytest.mark.slow
def test_its_slurmd_is_killed_and_the_old_process_lives_on(
    client: Cluster, tmp_path: Path, data: Path, reference: Reference
) -> None:
    """SLURM gives the job away while the old process still writes: the new one has to wait until it is gone."""
    trial = Trial(client, tmp_path / "runs", data, SHORT)
    trial.until_iteration(EARLY)
    (old,) = trial.pids()
    try:
        client.kill_slurmd(client.field(trial.job, "BatchHost"))
        os.kill(old, signal.SIGSTOP)  # or it would be done before SLURM has noticed
        trial.until_requeued()
        trial.release(left=True)
        trial.until(lambda: f"is being written by pid {old}" in trial.log, "the new process waits for the old one")
        held = trial.iteration
        os.kill(old, signal.SIGCONT)
        trial.until_iteration(held + 20)
        assert trial.status["attempt"] == 1
        assert trial.status["pid"] == old
    finally:
        os.kill(old, signal.SIGKILL)
    trial.until_done()
    assert trial.classes == ["node-failure"]
    assert trial.deaths[0]["by"] == "job"
    assert trial.status["attempt"] == 2
    assert len(trial.starts) == 1
    assert_equal(trial.run, reference(SHORT))


@pytest.mark.slow
def test_cancelled_stays_cancelled_until_somebody_asks(short: Trial, client: Cluster, reference: Reference) -> None:
    short.until_iteration(EARLY)
    first = short.job
    client.run(f"scancel {first}")
    short.until(lambda: short.state() == "CANCELLED" and short.row.state == "failed", "cancelled")
    assert short.row.failure_class == "cancelled"
    assert short.status["failure_class"] == "cancelled"
    assert short.classes == ["cancelled"]
    assert not short.deaths[0]["requeued"]
    assert short.restarts() == 0
    short.retry("cancelled")
    assert short.job != first
    assert short.launched.submissions == 2
    short.until_done()
    assert short.starts == [short.deaths[0]["iteration"]]
    assert_equal(short.run, reference(SHORT))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_slices_of_a_minute(client: Cluster, tmp_path: Path, data: Path, reference: Reference) -> None:
    """More slices than three, submitit's own limit; each is asked to leave by USR2 after some seconds of training."""
    trial = Trial(client, tmp_path / "runs", data, SLICED, hours=Hours(small=1 / 60), signal_delay_s=40)
    while trial.status["state"] != "done":
        trial.until_next_slice()
    trial.until_done()
    assert len(trial.deaths) > 3
    assert set(trial.classes) == {"time-limit"}
    reached = [death["iteration"] for death in trial.deaths]
    assert reached == sorted(reached)
    assert all(death["exit_code"] == 130 for death in trial.deaths)
    assert sum(death["lost_s"] for death in trial.deaths) == 0
    assert_equal(trial.run, reference(SLICED))


KILLS, LAST = 20, 3  # the last ones wait for the evaluation
ENDED = ("FAILED", "COMPLETED", "CANCELLED", "NODE_FAIL", "TIMEOUT")


def strike(trial: Trial, how: str) -> bool:
    """False when there is nothing to strike at the moment."""
    if how == "requeue":
        return trial.cluster.run(f"scontrol requeue {trial.job}", check=False).returncode == 0
    if how == "TERM":  # to the step, by SLURM
        return trial.cluster.run(f"scancel --signal=TERM {trial.step}", check=False).returncode == 0
    return trial.signal(signal.Signals[f"SIG{how}"])


def one_kill(trial: Trial, how: str, delay: float, linger: float) -> str:
    """Strike `delay` seconds after the job has started, or when it evaluates; returns what became of it."""
    trial.until(lambda: trial.state() == "RUNNING", "it runs")
    lives, deaths, due = trial.restarts(), len(trial.deaths), time.monotonic() + delay
    # Until this start has begun an attempt of its own, status.json is that of the attempt before.
    attempt = trial.status["attempt"] if trial.status["state"] != "running" else 0

    def measures() -> bool:
        now = trial.status
        return now["attempt"] > attempt and now["state"] == "running" and now.get("stage") in ("export", "evaluate")

    trial.until(lambda: time.monotonic() > due or measures(), "its moment comes", 2 * trial.wait)
    if measures():
        time.sleep(linger)
    now = trial.status
    stage = "measuring" if measures() else "training" if now["state"] == "running" and trial.pids() else "start-up"
    trial.until(lambda: strike(trial, how), f"{how} arrives")
    trial.until(
        lambda: trial.state() in ENDED or (trial.restarts() > lives and trial.state() == "PENDING"),
        f"it has died of {how}, in {stage}",
    )
    noted = ", ".join(trial.classes[deaths:]) or "nothing"
    return f"{how:7} in {stage:9} at {trial.iteration:4}: noted {noted}; {trial.state()}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_random_kills(client: Cluster, tmp_path: Path, data: Path, reference: Reference) -> None:
    """At random moments of start-up and training, the last ones in the evaluation: not a bit of the result changes.

    About five minutes on two cores. A run that has used up what its class may die is retried, as a user would.
    """
    dice = random.Random(20)
    trial = Trial(client, tmp_path / "runs", data, LONG)
    begun, retried, story = time.monotonic(), 0, []
    trial.until(lambda: trial.state() == "RUNNING", "it runs")
    started = time.monotonic()
    trial.until_iteration(1)
    start_up = time.monotonic() - started  # so that half of the moments lie in it, on a slow machine too
    for number in range(KILLS):
        how = dice.choice(("USR2", "TERM", "KILL", "requeue"))
        delay, linger = dice.uniform(0, 2 * start_up), dice.uniform(0, 0.5)
        story.append(one_kill(trial, how, delay if number < KILLS - LAST else float("inf"), linger))
        print(f"{time.monotonic() - begun:5.0f} s  {number + 1:2} {story[-1]}", flush=True)
        if trial.state() == "PENDING":
            trial.release()
            continue
        kind = trial.classes[-1]
        assert exhausted(kind, trial.deaths), f"{kind} was not started again"
        assert trial.row.state == "failed"
        trial.retry(kind)
        retried += 1
    trial.until_done()
    print(f"{time.monotonic() - begun:5.0f} s  done, attempt {trial.status['attempt']}, retried {retried} times")
    assert sum("measuring" in line for line in story) >= LAST
    assert len(trial.deaths) >= KILLS - retried - sum("requeue" in line for line in story)
    assert_equal(trial.run, reference(LONG))
