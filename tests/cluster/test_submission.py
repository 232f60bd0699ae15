"""`c2d sweep ... --where slurm` on a real SLURM, as a user types it: states, dependencies, caps, failures."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2d.core.job_file import read_attempts
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.sweep_manifest import planned_runs
from c2d.data.scenes.make_scenes import make_scenes
from sweeps.actions.submit import submit_sweep
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import read_definition
from sweeps.definition.profile import load_profile
from sweeps.launchers import local
from tests.cluster.login_node import TEACHER, LoginNode
from tests.cluster.slurm import MAX_ARRAY, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

METHODS = "axes:\n  method:\n    baseline: []\n    icod: [{icod: {}}]\n"
TAUGHT = "axes:\n  method:\n    icod: [{icod: {}}]\n"
NO_SLURM = "/nonexistent"
DETECTIONS = "detections.json.gz"


@pytest.fixture
def login_node(client: Cluster, tmp_path: Path) -> LoginNode:
    make_scenes(tmp_path / "data" / "scenes", train=12, val=4, size=96, seed=0)
    found = LoginNode(client, tmp_path, tmp_path / "data")
    found.profile()
    return found


def teacher_of(login_node: LoginNode, sweep: str) -> str:
    return login_node.record(sweep)["teachers"][0]


def students_of(login_node: LoginNode, sweep: str) -> list[str]:
    return [cell["run"] for cell in login_node.record(sweep)["cells"]]


def looked_at(login_node: LoginNode, sweep: str) -> bool:
    """True when SLURM says of every job why it waits."""
    return all("pending (" in row["reason"] for row in login_node.status(sweep).values())


def test_students_wait_for_their_teacher_and_never_for_one_that_is_done(login_node: LoginNode) -> None:
    login_node.define("wait", TEACHER, METHODS)
    with login_node.closed():
        login_node.submit("wait")
        teacher, (baseline, icod) = teacher_of(login_node, "wait"), students_of(login_node, "wait")
        jobs = {run: login_node.job(run).job for run in (teacher, baseline, icod)}
        login_node.cluster.until(lambda: looked_at(login_node, "wait"), "SLURM has looked at them")
        seen = login_node.status("wait")
        assert {run["state"] for run in seen.values()} == {"waiting"}
        reasons = ("Dependency", "ReqNodeNotAvail")  # whichever SLURM looked at last: the nodes are closed as well
        assert seen[icod]["reason"].startswith(tuple(f"job {jobs[icod]} pending ({reason}" for reason in reasons))
        assert login_node.cluster.field(str(jobs[icod]), "Dependency") == f"afterok:{jobs[teacher]}(unfulfilled)"
        assert login_node.job(icod).depends == [teacher]
    login_node.until("wait", "done")
    assert login_node.sweep("status", "wait").returncode == 0
    login_node.cluster.until(
        lambda: not login_node.queued(), "the last process is gone, a second or two after its run is done"
    )

    login_node.define("wait", TEACHER, METHODS, "seeds: 2")
    with login_node.closed():
        assert "nothing to launch" not in login_node.submit("wait")
        new = [run for run in students_of(login_node, "wait") if run not in (baseline, icod)]
        assert len(new) == 2
        for run in new:
            assert login_node.cluster.field(str(login_node.job(run).job), "Dependency") == "(null)"
            assert login_node.job(run).depends == []
        assert len(login_node.queued()) == 2

        # gc leaves what waits and the newest checkpoint; the first checkpoints of the three finished runs go
        listed = login_node.sweep("gc", "wait").stdout
        assert "would be removed" in listed
        before = {run: sorted(path.name for path in (login_node.runs / run / "checkpoints").iterdir()) for run in jobs}
        assert all(len(found) == 2 for found in before.values())
        login_node.sweep("gc", "wait", "--yes")
        for run, found in before.items():
            assert [path.name for path in (login_node.runs / run / "checkpoints").iterdir()] == found[-1:]
            assert RunFolder(login_node.runs / run).result.exists()

        # cancel: nothing without a yes, then all that waits, and what is done stays done
        login_node.sweep("cancel", "wait", answer="n\n", code=130)
        assert len(login_node.queued()) == 2
        assert "cancelled 2 jobs" in login_node.sweep("cancel", "wait", "--yes").stdout
        login_node.cluster.until(lambda: login_node.queued() == [], "the queue is empty")
    seen = login_node.status("wait")
    assert {run: row["class"] for run, row in seen.items() if row["state"] == "failed"} == dict.fromkeys(
        new, "cancelled"
    )
    assert all(seen[run]["state"] == "done" for run in jobs)


def test_a_failed_teacher_blocks_its_students_until_it_is_retried(login_node: LoginNode) -> None:
    login_node.define("blocked", TEACHER, TAUGHT, "seeds: 2")
    with ExitStack() as away:
        with login_node.closed():
            login_node.submit("blocked")
            away.enter_context(login_node.no_images())
        teacher, students = teacher_of(login_node, "blocked"), students_of(login_node, "blocked")
        login_node.until("blocked", "failed", runs=[teacher])
        first = {run: str(login_node.job(run).job) for run in students}
        for job in first.values():
            login_node.cluster.wait_for(job, "CANCELLED")
    seen = login_node.status("blocked")
    for run in students:
        assert seen[run]["state"] == "blocked"
        assert seen[run]["reason"].startswith(f"blocked by {teacher}")
    assert login_node.sweep("status", "blocked", code=1).returncode == 1
    assert teacher in login_node.sweep("triage", "blocked").stdout
    again = login_node.sweep("retry", "blocked", "--id", teacher).stdout
    assert all(f"retry: {run}" in again for run in (teacher, *students))
    assert all(str(login_node.job(run).job) != first[run] for run in students)
    login_node.until("blocked", "done")


def test_two_shells_at_once_and_a_third_time_launch_every_run_once(login_node: LoginNode) -> None:
    login_node.define("twice", "seeds: 6")
    with login_node.closed():
        words = login_node.command("submit", "twice", "--no-forward")
        shells = [
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)
        ]
        said = [shell.communicate(timeout=120)[0] for shell in shells]
        assert [shell.returncode for shell in shells] == [0, 0], said
        assert sorted("nothing to launch" in text for text in said) == [False, True]
        runs = students_of(login_node, "twice")
        assert len(set(runs)) == 6
        assert "nothing to launch" in login_node.submit("twice")
        jobs = sorted(str(login_node.job(run).job) for run in runs)
        assert sorted(line.split()[0] for line in login_node.queued()) == jobs
        assert len(set(jobs)) == 6

        # another shell, with and without SLURM's commands
        login_node.cluster.until(lambda: looked_at(login_node, "twice"), "SLURM has looked at them")
        for run, row in login_node.status("twice", PATH=NO_SLURM).items():
            assert row["state"] == "unknown"
            assert row["reason"].startswith("unknown since 20")
            assert row["reason"].endswith(f", job {login_node.job(run).job}")


def test_a_grid_grows_by_its_new_cells_and_shrinks_without_a_cancellation(login_node: LoginNode) -> None:
    def grid(rates: list[float], decays: list[float]) -> str:
        axes = {"schedule.optimizer.lr": rates, "schedule.optimizer.weight_decay": decays}
        return yaml.safe_dump({"axes": axes})

    login_node.define("grid", grid([0.001, 0.002], [0.0, 0.1]))
    with login_node.closed():
        login_node.submit("grid")
        first = {run: login_node.job(run) for run in students_of(login_node, "grid")}
        assert len(first) == len(login_node.queued()) == 4
        login_node.define("grid", grid([0.001, 0.002, 0.004], [0.0, 0.1, 0.2]))
        said = login_node.submit("grid")
        every = students_of(login_node, "grid")
        assert len(set(every)) == 9
        assert sum(line.startswith("-> ") for line in said.splitlines()) == 5
        assert len(login_node.queued()) == 9
        assert {run: login_node.job(run) for run in first} == first  # untouched
    login_node.cluster.until(lambda: any("RUNNING" in line for line in login_node.queued()), "some of them run")
    running = [run for run, row in login_node.status("grid").items() if row["state"] == "running"]
    login_node.define("grid", grid([0.004], [0.2]))
    assert "nothing to launch" in login_node.submit("grid")
    assert sorted(login_node.record("grid")["orphans"]) == sorted(set(every) - set(students_of(login_node, "grid")))
    assert len(login_node.record("grid")["orphans"]) == 8
    assert running
    states = {str(login_node.job(run).job): login_node.cluster.state(str(login_node.job(run).job)) for run in every}
    assert not [job for job, state in states.items() if state.startswith(("CANCELLED", "FAILED"))], states


def test_more_cells_than_an_array_holds_and_the_cap_of_the_sweep(login_node: LoginNode) -> None:
    """The cells are finished by somebody else while they wait, so their jobs only look, wait a second and end."""
    count, cap = MAX_ARRAY + 10, 5
    login_node.define("many", f"seeds: {count}")
    login_node.profile(array_cap=cap, setup=["sleep 1"], mem_gb=0.5)
    with login_node.closed():
        login_node.submit("many")
        runs = students_of(login_node, "many")
        assert len(login_node.queued()) == count
        arrays = {str(login_node.job(run).job).partition("_")[0] for run in runs}
        assert len(arrays) == 2
        for run in runs:
            folder = RunFolder(login_node.runs / run)
            atomic_write_json(folder.result, {"format": 1})
            folder.write_status("done")
    most, looks, deadline = 0, 0, time.monotonic() + 150
    while (queued := login_node.queued()) and time.monotonic() < deadline:
        most, looks = max(most, sum(line.endswith(" RUNNING") for line in queued)), looks + 1
        time.sleep(0.1)
    assert most == cap, f"{most} at once in {looks} looks"

    def ended() -> list[str]:
        return login_node.cluster.run(f"sacct -XPn -o State -j {','.join(arrays)}").stdout.split()

    # what accounting hears last arrives a moment later
    login_node.cluster.until(lambda: ended() == ["COMPLETED"] * count, "every task is known to have ended well", 20)


def test_a_healthy_canary_lets_the_rest_follow(login_node: LoginNode) -> None:
    login_node.define("healthy", "seeds: 3")
    said = login_node.submit("healthy", "--canary", "1")
    runs = students_of(login_node, "healthy")
    first = said.split("job ", 1)[1].split(":")[0]
    waiting = [str(login_node.job(run).job) for run in runs]
    assert len({first, *waiting}) == 4
    login_node.until("healthy", "done")
    attempts = [RunFolder(login_node.runs / run).read_status()["attempt"] for run in runs]
    assert sorted(attempts) == [1, 1, 2]  # the canary's run went on where the canary had stopped
    starts = {job: login_node.cluster.run(f"sacct -XPn -o Start -j {job}").stdout.strip() for job in waiting}
    end = login_node.cluster.run(f"sacct -XPn -o End -j {first}").stdout.strip()
    assert all(start >= end for start in starts.values())


def test_a_sick_canary_ends_the_rest(login_node: LoginNode) -> None:
    login_node.define("sick", "seeds: 3")
    with ExitStack() as away:
        with login_node.closed():
            said = login_node.submit("sick", "--canary", "1")
            away.enter_context(login_node.no_images())
        runs = students_of(login_node, "sick")
        first = said.split("job ", 1)[1].split(":")[0]
        login_node.cluster.wait_for(first, "FAILED")
        for run in runs:
            login_node.cluster.wait_for(str(login_node.job(run).job), "CANCELLED")
    seen = login_node.status("sick")
    assert sorted(row["state"] for row in seen.values()) == ["blocked", "blocked", "failed"]
    bird = next(run for run, row in seen.items() if row["state"] == "failed")
    assert all(bird in row["reason"] for run, row in seen.items() if run != bird)
    assert not any((login_node.runs / run / "log.txt").exists() for run in runs if run != bird)


def test_two_nodes_train_one_run_together(login_node: LoginNode) -> None:
    login_node.define("pair", "seeds: 2")
    login_node.profile(nodes=2, processes=1, tmp=str(login_node.folder / "tmp"))
    login_node.submit("pair")
    runs = students_of(login_node, "pair")
    tmp: dict[str, set[str]] = {}
    listening: set[int] = set()

    def over() -> bool:
        listening.update(listeners())
        for path in (login_node.folder / "tmp").glob("c2d-*"):
            tmp.setdefault(path.name.split("-")[1], set()).add(path.name)
        return login_node.queued() == []

    login_node.cluster.until(over, "both jobs have ended", 150)
    login_node.until("pair", "done")
    for run in runs:
        job = login_node.job(run)
        logs = [Path(job.folder) / f"{job.job}_{rank}_log.out" for rank in (0, 1)]
        assert all(f"attempt begins: {run}" in log.read_text() for log in logs)
        assert RunFolder(login_node.runs / run).read_status()["iteration"] == 2
    assert [len(found) for found in tmp.values()] == [2, 2]  # a job's two processes have a folder each
    assert list((login_node.folder / "tmp").iterdir()) == []
    ports = {12_000 + int(number) % 20_000 for number in tmp}
    assert len(ports) == 2
    assert ports <= listening


def listeners() -> set[int]:
    """TCP ports of this machine that somebody listens on."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


@pytest.mark.slow
def test_the_demo_gives_the_same_numbers_here_and_through_slurm(
    login_node: LoginNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's own cells and configs, all four and their teacher, with fewer steps and scenes."""
    definition = yaml.safe_load(read_definition("demo").text)
    definition["base"] |= {"schedule.iterations": 12, "schedule.warmup.iterations": 3}
    few = {"schedule.iterations": 16, "schedule.warmup.iterations": 2, "schedule.min_top1": 0.0}
    definition["teachers"]["classifier"] |= few
    definition["seeds"] = 1
    make_scenes(login_node.folder / "more" / "scenes", train=48, val=16, size=160, seed=0)
    text = login_node.folder / "demo-short.yaml"
    text.write_text(yaml.safe_dump(definition))
    there = LoginNode(login_node.cluster, login_node.folder, login_node.folder / "more")
    there.submit("demo-short")

    # one thread in both: sums of floats depend on it in their last digits
    monkeypatch.setattr(local, "launch", partial(local.launch, threads=1))
    here = login_node.folder / "here"
    place = Workspace(here, there.data, "local", load_profile(str(login_node.folder / "tiny.yaml.profile")))
    assert submit_sweep(read_definition(str(text)), place, forward=False, print_line=print) == 0

    there.until("demo-short", "done", seconds=300)
    promised = [planned.run for planned in planned_runs(there.record("demo-short"))]
    assert len(promised) == 5
    for run in promised:
        ours, theirs = RunFolder(here / run), RunFolder(there.runs / run)
        assert told(ours) == told(theirs)
        assert read_attempts(theirs) == []
        if run != teacher_of(there, "demo-short"):
            assert (ours.path / DETECTIONS).read_bytes() == (theirs.path / DETECTIONS).read_bytes()
    # four different answers, so equal ones mean something
    assert len({path.read_bytes() for path in there.runs.glob(f"*/{DETECTIONS}")}) == 4


def told(run: RunFolder) -> Any:
    """All of a result but for what a clock said, and where the store is."""
    text = run.result.read_text().replace(str(run.path.parent), "")
    return {key: value for key, value in json.loads(text).items() if key != "seconds"}
