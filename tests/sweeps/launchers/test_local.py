"""The local launcher: order of starts and reaction to exits. The runs of most tests are scripts of a few lines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.core.job_file import read_attempts, read_job, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from sweeps.definition.profile import Profile, load_profile
from sweeps.launchers import LAUNCHERS, local, local_process
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.snapshot import snapshot_folder, take_snapshot
from sweeps.node.verify_snapshot import digest_of
from tests.c2d.conftest import TinyStore, teacher, tiny_store  # noqa: F401
from tests.forked_python import SUBPROCESS

ROOT = Path(__file__).parents[3]
JOB = """
import json, os, signal, sys, time
from pathlib import Path
from c2d.core.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
script = json.loads((folder.path / "script.json").read_text())
number = folder.read_status().get("attempt", 0) + 1
with open(folder.path / "starts", "a") as stream:
    facts = {"words": sys.argv[2:], "begun": time.time(), "env": dict(os.environ)}
    print(json.dumps(facts), file=stream)
folder.write_status("running", attempt=number, begun=time.time(), iteration=number, iterations=9)
act = script[min(number, len(script)) - 1]
if act == "wait":
    def leave(*_):
        folder.write_status("waiting", reason="interrupted by SIGTERM; call again to continue")
        sys.exit(130)
    signal.signal(signal.SIGTERM, leave)
    time.sleep(30)
if act == "slow":
    time.sleep(0.8)
if act == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if act == "failed":
    print("its last words", file=sys.stderr)
    folder.write_status("failed", reason="loss is nan", failure_class="nan")
    sys.exit(1)
if "--stop-after" in sys.argv:
    folder.write_status("waiting", reason="stopped as asked")
else:
    folder.write_status("done")
    folder.result.write_text("{}")
(folder.path / "ended").write_text(str(time.time()))
"""


CODE = {"sweeps/__init__.py": "", "sweeps/node/__init__.py": "", "sweeps/node/job.py": JOB}


def write_snapshot(runs: Path, files: dict[str, str]) -> str:
    """Write these files as a snapshot, and return its digest."""
    digest = digest_of({name: text.encode() for name, text in files.items()})
    for name, text in files.items():
        path = snapshot_folder(runs, digest) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    atomic_write_json(snapshot_folder(runs, digest) / "snapshot.json", {"digest": digest})
    return digest


class LocalStore:
    """A store whose snapshot holds a substitute for sweeps.node.job."""

    def __init__(self, root: Path) -> None:
        self.runs, self.messages = root / "runs", list[str]()
        self.snapshot = write_snapshot(self.runs, CODE)

    def run(self, name: str, *script: str) -> RunFolder:
        folder = RunFolder(self.runs / name)
        atomic_write_json(folder.path / "script.json", list(script or ["well"]))
        return folder

    def request(self, *tasks: Task, **profile: Any) -> LaunchRequest:
        return LaunchRequest(
            "s", self.runs, self.runs.parent / "data", list(tasks), Profile(name="p", **profile), self.snapshot
        )

    def launch(self, *tasks: Task, at_once: int | None = 2, **profile: Any) -> int:
        return local.launch(self.request(*tasks, **profile), self.messages.append, at_once=at_once)


@pytest.fixture
def local_store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def starts(run: RunFolder) -> list[dict[str, Any]]:
    path = run.path / "starts"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ended(run: RunFolder) -> float:
    return float((run.path / "ended").read_text())


def test_teachers_come_before_their_students(local_store: LocalStore) -> None:
    teach = local_store.run("teacher", "slow")
    students = [local_store.run(f"student{index}", "slow") for index in range(3)]
    free = local_store.run("baseline")
    tasks = [Task(teach), *(Task(run, after=("teacher",)) for run in students), Task(free)]
    assert local_store.launch(*tasks) == 0
    for run in students:
        assert starts(run)[0]["begun"] > ended(teach)
    assert starts(free)[0]["begun"] < ended(teach)  # it waits for no other run
    begun = sorted(starts(run)[0]["begun"] for run in students)
    assert begun[1] < min(ended(run) for run in students)  # two at once,
    assert begun[2] > min(ended(run) for run in students)  # not three
    assert local_store.messages == []


def test_a_failed_teacher_blocks_only_its_students(local_store: LocalStore) -> None:
    teach, free = local_store.run("teacher", "failed"), local_store.run("baseline", "slow")
    student, grandchild = local_store.run("student"), local_store.run("grandchild")
    tasks = [Task(teach), Task(student, after=("teacher",)), Task(grandchild, after=("student",)), Task(free)]
    assert local_store.launch(*tasks) == 1
    assert starts(student) == starts(grandchild) == []
    assert free.read_status()["state"] == "done"
    job = read_job(teach)
    assert job is not None
    log = Path(job.folder) / "teacher.out"
    assert f"failed: teacher (nan): loss is nan; log: {log}" in local_store.messages
    assert "its last words" in log.read_text()
    assert "blocked: student by teacher" in local_store.messages
    assert "blocked: grandchild by student" in local_store.messages
    assert local_store.messages[-1] == "1 done, 1 failed, 2 blocked"
    assert read_attempts(teach)[0]["class"] == "nan"


def test_a_process_killed_from_outside_starts_again(local_store: LocalStore) -> None:
    run = local_store.run("run", "killed", "well")
    assert local_store.launch(Task(run)) == 0
    (death,) = read_attempts(run)
    assert (death["class"], death["exit_code"], death["requeued"], death["by"]) == ("killed", 137, True, "local")
    assert len(starts(run)) == 2
    assert any("run ended (killed)" in line and "it restarts" in line for line in local_store.messages)


def test_it_does_not_start_again_for_ever(local_store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "backoff_s", lambda deaths: 0.0)
    run = local_store.run("run", "killed")
    assert local_store.launch(Task(run)) == 1
    assert len(starts(run)) == len(read_attempts(run)) == 4  # three retries
    assert run.read_status()["failure_class"] == "killed"


def test_consecutive_failures_are_retried_after_a_delay(
    local_store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def pause(deaths: int) -> float:
        asked.append(deaths)
        return 0.3 * (deaths - 1)

    monkeypatch.setattr(local, "backoff_s", pause)
    run = local_store.run("run", "killed", "killed", "well")
    assert local_store.launch(Task(run)) == 0
    assert asked == [1, 2]
    begun = [start["begun"] for start in starts(run)]
    assert begun[2] - begun[1] > 0.3


def test_a_canary_comes_before_its_run_and_the_others(local_store: LocalStore) -> None:
    bird, other = local_store.run("bird", "slow"), local_store.run("other")
    canary = Task(bird, stop_after=5)
    assert local_store.launch(canary, Task(bird, after=(canary.id,)), Task(other, after=(canary.id,))) == 0
    first, second = starts(bird)
    assert first["words"][-2:] == ["--stop-after", "5"]
    assert "--stop-after" not in second["words"]
    assert starts(other)[0]["begun"] > first["begun"] + 0.5
    assert bird.read_status()["state"] == "done"


def test_a_failed_canary_stops_the_launch(local_store: LocalStore) -> None:
    bird, other = local_store.run("bird", "failed"), local_store.run("other")
    canary = Task(bird, stop_after=5)
    assert local_store.launch(canary, Task(bird, after=(canary.id,)), Task(other, after=(canary.id,))) == 1
    assert starts(other) == []
    assert local_store.messages[-1] == "0 done, 1 failed, 2 blocked"


def test_a_teacher_of_another_launch_is_waited_for(local_store: LocalStore) -> None:
    teach, student = local_store.run("teacher", "slow"), local_store.run("student")
    elsewhere = LocalStore.__new__(LocalStore)
    elsewhere.runs, elsewhere.snapshot, elsewhere.messages = local_store.runs, local_store.snapshot, []
    thread = threading.Thread(target=elsewhere.launch, args=(Task(teach),))
    thread.start()
    while not (teach.path / "job.json").exists():
        time.sleep(0.01)
    assert local_store.launch(Task(student, after=("teacher",))) == 0
    thread.join()
    assert starts(student)[0]["begun"] > ended(teach)


def test_a_teacher_without_a_job_blocks(local_store: LocalStore) -> None:
    local_store.run("teacher")
    assert local_store.launch(Task(local_store.run("student"), after=("teacher",))) == 1
    assert local_store.messages[0] == "blocked: student by teacher"


def test_environment_of_a_run(local_store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr(local, "usable_cores", lambda: 8)
    teach, one, two = local_store.run("teacher"), local_store.run("one"), local_store.run("two")
    tasks = [Task(teach), Task(one, after=("teacher",)), Task(two, after=("teacher",))]
    more: dict[str, Any] = {"workers": 4, "environment": {"MINE": "1"}, "track": ["tensorboard", "mlflow"]}
    assert local_store.launch(*tasks, download=True, tmp="/scratch", **more) == 0
    first, second = starts(teach)[0], starts(one)[0]
    assert first["words"] == [
        "--data", str(local_store.runs.parent / "data"), "--threads", "4", "--workers", "3", "--download",
        "--tmp", "/scratch", "--track", "tensorboard", "--track", "mlflow",
    ]  # fmt: skip
    assert second["words"] == first["words"]
    seen = second["env"]
    assert (seen["OMP_NUM_THREADS"], seen["OMP_WAIT_POLICY"], seen["MINE"]) == ("4", "PASSIVE", "1")
    assert (seen["C2D_SNAPSHOT"], seen["PYTHONSAFEPATH"]) == (local_store.snapshot, "1")
    assert seen["PYTHONPATH"] == str(snapshot_folder(local_store.runs, local_store.snapshot))
    assert not [name for name in seen if name.startswith("SLURM_") or name in ("RANK", "WORLD_SIZE")]


def test_a_run_that_has_begun_keeps_its_threads(local_store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "usable_cores", lambda: 8)
    one, two = local_store.run("one"), local_store.run("two")
    assert local_store.launch(Task(one), Task(two)) == 0
    one.write_status("waiting", attempt=1)  # interrupted; the other one is finished
    assert local_store.launch(Task(one)) == 0
    assert [start["words"][3] for start in starts(one)] == ["4", "4"]
    assert local_store.launch(Task(local_store.run("three"))) == 0
    assert starts(RunFolder(local_store.runs / "three"))[0]["words"][3] == "8"


def test_a_run_that_is_cancelled_before_its_turn_does_not_start(local_store: LocalStore) -> None:
    first, second = local_store.run("first", "slow"), local_store.run("second")
    thread = threading.Thread(target=local_store.launch, args=(Task(first), Task(second)), kwargs={"at_once": 1})
    thread.start()
    while not starts(first):
        time.sleep(0.01)
    job = read_job(second)
    assert job is not None
    write_job(second, job.model_copy(update={"state": "cancelled"}))
    thread.join()
    assert starts(second) == []
    assert "second: cancelled before its turn" in local_store.messages


def test_every_gpu_has_a_run_of_its_own(local_store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    runs = [local_store.run(f"run{index}", "slow") for index in range(3)]
    assert local_store.launch(*map(Task, runs), at_once=None) == 0
    shown = [starts(run)[0]["env"]["CUDA_VISIBLE_DEVICES"] for run in runs]
    assert shown[:2] == ["2", "5"]
    assert shown[2] in ("2", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert local.visible_gpus() == []


def test_how_many_at_once(local_store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2D_LOCAL_WORKERS", "1")
    runs = [local_store.run(f"run{index}", "slow") for index in range(2)]
    assert local_store.launch(*map(Task, runs), at_once=None) == 0
    assert starts(runs[1])[0]["begun"] > ended(runs[0])
    monkeypatch.setenv("C2D_LOCAL_WORKERS", "many")
    with pytest.raises(InputError, match="C2D_LOCAL_WORKERS is 'many'; give the number"):
        local_store.launch(Task(runs[0]), at_once=None)


def interrupting(local_store: LocalStore, tmp_path: Path, until: Callable[[], bool]) -> tuple[int, str]:
    """Launch from a process of its own, and send it what Ctrl-C sends once `until` holds."""
    script = tmp_path / "launch.py"
    script.write_text(
        "import sys; from pathlib import Path; from c2d.core.run_folder import RunFolder\n"
        "from sweeps.launchers import local; from sweeps.launchers.launch_request import LaunchRequest, Task\n"
        "from sweeps.definition.profile import Profile\n"
        f"runs = Path({str(local_store.runs)!r})\n"
        "tasks = [Task(RunFolder(runs / name)) for name in ('a', 'b', 'c')]\n"
        "request = LaunchRequest('s', runs, runs, tasks, Profile(), '" + local_store.snapshot + "')\n"
        "sys.exit(local.launch(request, lambda line: print(line, flush=True), at_once=2))\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 30
    while not until() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    return process.wait(timeout=30), process.communicate()[0]


def test_interrupted_is_130_and_continues(local_store: LocalStore, tmp_path: Path) -> None:
    first, second, third = (
        local_store.run("a", "wait", "well"),
        local_store.run("b", "wait", "well"),
        local_store.run("c"),
    )
    code, messages = interrupting(
        local_store, tmp_path, lambda: all(run.read_status()["state"] == "running" for run in (first, second))
    )
    assert code == 130
    assert "interrupted: 0 done, 3 to do, state saved; run the same command again to continue" in messages
    assert first.read_status()["reason"].startswith("interrupted by SIGTERM")
    assert starts(third) == []
    assert read_attempts(first) == []  # a person's wish is no death
    assert local_store.launch(Task(first), Task(second), Task(third)) == 0


def test_the_launcher_of_a_run_is_recorded(local_store: LocalStore) -> None:
    run = local_store.run("run")
    assert LAUNCHERS["local"](local_store.request(Task(run)), local_store.messages.append) == 0
    job = read_job(run)
    assert job is not None
    assert (job.where, job.sweep, job.pid, job.profile, job.snapshot) == (
        "local",
        "s",
        os.getpid(),
        "p",
        local_store.snapshot,
    )
    assert job.submissions == 1


def test_a_snapshot_that_is_missing_or_altered_starts_nothing(local_store: LocalStore) -> None:
    first, second, student = (local_store.run(name) for name in ("first", "second", "student"))
    whole = write_snapshot(local_store.runs, {**CODE, "sweeps/more.py": ""})
    (snapshot_folder(local_store.runs, local_store.snapshot) / "snapshot.json").unlink()
    tasks = [Task(first), Task(second, snapshot=whole), Task(student, after=("first",))]
    assert local_store.launch(*tasks) == 1
    assert (starts(first), len(starts(second)), starts(student)) == ([], 1, [])
    status, (attempt,) = first.read_status(), read_attempts(first)
    assert (status["state"], status["failure_class"]) == ("failed", "snapshot")
    assert (attempt["class"], attempt["by"], attempt["job"]) == ("snapshot", "local", None)
    assert any("first (snapshot): the code it was submitted with cannot be" in line for line in local_store.messages)


@pytest.mark.timeout(300)
def test_teacher_and_student_for_real_with_a_kill(
    tiny_store: TinyStore,  # noqa: F811
    teacher: RunFolder,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The snapshot's code, two processes, one of them killed outright in the middle of its training."""
    from c2d.core.run_folder import atomic_write_json as write
    from c2d.specs.spec import parse_spec

    monkeypatch.setattr(local_process, "subprocess", SUBPROCESS)

    runs = tmp_path / "runs"
    spec = parse_spec(read_json(teacher.spec), "test")
    teach = RunFolder(runs / spec.id)
    write(teach.spec, spec.to_json())
    before = tiny_store.create_run(
        iterations=12, method=[{"icod": {"max_positives": 8}}], teachers={"classifier": teacher.id}, seed=41
    )
    shutil.copytree(tiny_store.runs / "students", runs / "students")  # the student is given by a file
    student = RunFolder(runs / before.id)
    write(student.spec, read_json(before.spec))
    request = LaunchRequest(
        "s",
        runs,
        tiny_store.data,
        [Task(teach), Task(student, after=(teach.id,))],
        load_profile("cpu"),
        take_snapshot(runs),
    )
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.005):
            if student.metrics.exists() and student.metrics.read_text().count("\n") >= 2:
                killed.append(student.read_status()["pid"])
                os.kill(killed[0], signal.SIGKILL)
                return

    thread = threading.Thread(target=kill)
    thread.start()
    messages: list[str] = []
    try:
        code = local.launch(request, messages.append, at_once=2, threads=1)
    finally:
        over.set()
        thread.join()
    assert code == 0, messages
    assert len(killed) == 1
    assert student.read_status()["state"] == "done"
    assert student.read_status()["attempt"] == 2
    (death,) = read_attempts(student)
    assert (death["class"], death["attempt"]) == ("killed", 1)
    facts = read_json(student.env)["attempts"]
    assert [fact["snapshot"] for fact in facts] == [request.snapshot] * 2
    assert read_json(student.result)["AP"] is not None
