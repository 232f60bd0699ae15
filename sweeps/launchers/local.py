"""Runs on this machine: a few processes at once, teachers before students, the cores divided between them.

Every run is a process of its own (`python -m sweeps.node.job`), with the code of the snapshot. A process that is killed from
outside starts again within the rules of sweeps/failures/retry_policy.py; Ctrl-C and TERM are passed on, so that trainings save.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from c2d.core.errors import InputError
from c2d.core.job_file import (
    LAUNCHER_HEARTBEAT,
    Job,
    has_launcher_ended,
    launched_since,
    read_attempts,
    read_job,
    submission_folder,
    write_job,
)
from c2d.core.run_folder import RunFolder
from c2d.core.run_state import HEARTBEAT_LIMIT_S
from sweeps.failures.retry_policy import backoff_s
from sweeps.launchers.launch_request import LaunchRequest, PrintLine, Task
from sweeps.launchers.progress import progress
from sweeps.launchers.snapshot import snapshot_environment
from sweeps.node.on_exit import handle_exit
from sweeps.scheduler.scontrol import JobStart

WORKERS_VARIABLE = "C2D_LOCAL_WORKERS"
LOOK_S = 0.2
ALIVE_S = 30.0
_OTHERS = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_RANK")


@dataclass
class _Place:
    """The state of one launch. A task is in exactly one of the five."""

    waiting: list[Task]
    running: dict[subprocess.Popen[bytes], tuple[Task, int]] = field(default_factory=dict)  # process: task, slot
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # task id: why
    blocked: dict[str, str] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)  # time.monotonic(), of a task that starts again
    stopping: bool = False


def launch(
    request: LaunchRequest, print_line: PrintLine, at_once: int | None = None, threads: int | None = None
) -> int:
    """Run all tasks; returns 0 when all ended well, 1 when some failed or are blocked, 130 when interrupted.

    Args:
        at_once: processes; default C2D_LOCAL_WORKERS, else one a GPU, else 2.
        threads: of each process; default: the cores divided among the processes that can run together. A run's numbers
            depend on it in the last digits, so one that has begun keeps its own.
    """
    cores, cards = os.cpu_count() or 1, gpus()
    width = at_once or _asked_width() or (len(cards) if cards else min(2, cores))
    share = threads or max(1, cores // max(1, min(width, len({task.run for task in request.tasks}))))
    shares = {task.id: threads or _begun_with(task.run) or share for task in request.tasks}
    place = _Place(list(request.tasks))
    logs, touched = _announce(request, shares), 0.0
    with _signals(place, print_line), progress(print_line) as show:
        while place.running or (place.waiting and not place.stopping):
            if not place.stopping:
                _block(place, request, print_line)
                for task in _ready(place, request)[: width - len(place.running)]:
                    slot = min(set(range(width)) - {taken for _, taken in place.running.values()})
                    place.waiting.remove(task)
                    if taken := _taken(task.run, logs.name):
                        place.failed[task.id] = f"{task.id}: {taken} before its turn"
                        print_line(place.failed[task.id])
                        continue
                    process = _start(task, request, logs, shares[task.id], cards[slot % len(cards)] if cards else None)
                    place.running[process] = (task, slot)
            time.sleep(LOOK_S)
            for process in [process for process in place.running if process.poll() is not None]:
                task, _ = place.running.pop(process)
                _ended(task, process.returncode, place, logs, print_line)
            show(_known(place, request))
            if time.monotonic() - touched > ALIVE_S:
                (logs / LAUNCHER_HEARTBEAT).touch()
                touched = time.monotonic()
    return _sum_up(place, print_line)


def gpus() -> list[str]:
    """The GPUs that a process here may use, by the names CUDA_VISIBLE_DEVICES knows."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return [name for name in (part.strip() for part in shown.split(",")) if name and name != "-1"]
    found = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(found.iterdir())))] if found.is_dir() else []


def environment(request: LaunchRequest, task_threads: int, gpu: str | None, code: str = "") -> dict[str, str]:
    """What a run's process sees: the snapshot's code, its share of the cores, nothing of a surrounding job."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_OTHERS)}
    # passive: on a machine shared with others, threads that spin while they wait cost ten times the time
    share = {"OMP_NUM_THREADS": str(task_threads), "OMP_WAIT_POLICY": "PASSIVE", "C2D_DATA": str(request.data)}
    card = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    given = {key: os.path.expandvars(value) for key, value in request.profile.environment.items()}
    ours = snapshot_environment(request.runs, code or request.snapshot)
    if theirs := os.environ.get("PYTHONPATH"):
        ours["PYTHONPATH"] += os.pathsep + theirs
    return {**kept, **share, **card, **given, **ours}


def _asked_width() -> int | None:
    asked = os.environ.get(WORKERS_VARIABLE)
    if not asked:
        return None
    if not asked.isdigit() or int(asked) < 1:
        raise InputError(f"{WORKERS_VARIABLE} is {asked!r}; give the number of processes to run at once, 1 or more")
    return int(asked)


def _begun_with(run: RunFolder) -> int:
    """Threads of a local run that has begun; 0 for all others."""
    job = read_job(run)
    return job.threads if job is not None and job.where == "local" and run.try_read_status().get("attempt") else 0


def _announce(request: LaunchRequest, shares: dict[str, int]) -> Path:
    """Make the folder of the processes' output, and write who runs these tasks into their job.json."""
    name = f"c2d-{request.sweep}-local-{os.getpid()}"
    logs = submission_folder(request.runs, request.sweep, name)
    logs.mkdir(parents=True, exist_ok=True)
    for index, (run, task) in enumerate({task.run: task for task in request.tasks}.items()):
        job = read_job(run)
        if job is None or (job.where, job.pid, job.host) != ("local", os.getpid(), socket.gethostname()):
            job = Job(
                sweep=request.sweep, where="local", state="submitted", name=name, profile=request.profile.name,
                snapshot=task.snapshot or request.snapshot, submissions=1 + (job.submissions if job else 0),
                host=socket.gethostname(), pid=os.getpid(),
            )  # fmt: skip
        known = {"folder": str(logs), "task": index, "state": "submitted", "threads": shares[task.id]}
        write_job(run, job.model_copy(update=known))
    return logs


def _start(task: Task, request: LaunchRequest, logs: Path, threads: int, gpu: str | None) -> subprocess.Popen[bytes]:
    profile = request.profile
    words = ["--data", str(request.data), "--threads", str(threads)]
    words += ["--workers", str(min(profile.workers, threads - 1))]
    words += ["--download"] if profile.download else []
    words += ["--stage-data", profile.stage_data] if profile.stage_data else []
    words += ["--tmp", profile.tmp] if profile.tmp else []
    words += ["--stop-after", str(task.stop_after)] if task.stop_after is not None else []
    with open(output(logs, task.run), "ab") as lines:
        return subprocess.Popen(
            [sys.executable, "-m", "sweeps.node.job", str(task.run.path), *words],
            env=environment(request, threads, gpu, task.snapshot),
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=lines,
            start_new_session=True,  # Ctrl-C comes to us alone, and is passed on once
        )


def output(logs: Path, run: RunFolder) -> Path:
    """What a run's process printed: errors, tracebacks; all starts in one file."""
    return logs / f"{run.id}.out"


def _taken(run: RunFolder, name: str) -> str:
    """What another shell did with a run since it was announced, or ""."""
    job = read_job(run)
    if job is None or job.state == "cancelled":
        return "cancelled"
    return "" if job.where == "local" and job.name == name else "launched by another shell"


def _ready(place: _Place, request: LaunchRequest) -> list[Task]:
    """Waiting tasks whose teachers and canary have ended well, in order; never two tasks of one run at once."""
    ours = {task.id for task in request.tasks}
    busy = {task.run for task, _ in place.running.values()}
    ready = []
    for task in place.waiting:
        if task.run in busy or place.not_before.get(task.id, 0.0) > time.monotonic():
            continue
        if all(need in place.done if need in ours else _elsewhere(need, request) == "done" for need in task.after):
            ready.append(task)
            busy.add(task.run)
    return ready


def _block(place: _Place, request: LaunchRequest, print_line: PrintLine) -> None:
    """Give up tasks that wait for something that will not come; what waits for them in turn is given up as well."""
    ours = {task.id for task in request.tasks}
    found = True
    while found:
        found = False
        for task in list(place.waiting):
            for need in task.after:
                gone = need in place.failed or need in place.blocked
                if gone or (need not in ours and _elsewhere(need, request) == "gone"):
                    place.waiting.remove(task)
                    place.blocked[task.id] = need
                    print_line(f"blocked: {task.id} by {need}")
                    found = True
                    break


def _elsewhere(need: str, request: LaunchRequest) -> str:
    """done, coming or gone: a task of another launch, of which only its run folder tells."""
    run = RunFolder(request.runs / need.partition("#")[0])
    now = run.try_read_status()
    job = read_job(run)
    if now["state"] == "done" or (now["state"] == "failed" and not launched_since(now, job)):
        return "done" if now["state"] == "done" else "gone"
    if job is None or job.state == "cancelled":
        return "gone"
    ended = job.where == "local" and has_launcher_ended(job, time.time())
    beat = run.status.stat().st_mtime if now["state"] == "running" else 0.0
    return "gone" if ended and time.time() - beat > HEARTBEAT_LIMIT_S else "coming"


def _ended(task: Task, code: int, place: _Place, logs: Path, print_line: PrintLine) -> None:
    code = code if code >= 0 else 128 - code  # as a shell tells a signal
    if code == 0 or task.run.is_done:  # killed after its last line was written
        place.done.add(task.id)
    elif place.stopping and code == 130:
        place.waiting.append(task)
    else:
        said: list[str] = []
        handle_exit(task.run, code, JobStart(state="RUNNING"), said.append, lambda: "", by="local")
        line = said[-1]
        now = task.run.try_read_status()
        if now["state"] == "waiting":
            same = [death["class"] for death in read_attempts(task.run)]
            row = next((index for index, kind in enumerate(reversed(same)) if kind != same[-1]), len(same))
            place.not_before[task.id] = time.monotonic() + backoff_s(row)
            place.waiting.append(task)
            print_line(line)
        else:
            kind, reason = now.get("failure_class") or "unknown", now.get("reason") or line
            log = task.run.log if task.run.log.exists() else output(logs, task.run)
            place.failed[task.id] = f"failed: {task.id} ({kind}): {reason}; log: {log}"
            print_line(place.failed[task.id])


def _known(place: _Place, request: LaunchRequest) -> dict[RunFolder, str]:
    """What to show of every run: running, done, failed, blocked or waiting; a canary is its run."""
    ends = {"done": place.done, "failed": place.failed, "blocked": place.blocked}
    found = {task.run: next((end for end, ids in ends.items() if task.id in ids), "waiting") for task in request.tasks}
    return found | {task.run: "running" for task, _ in place.running.values()}


def _sum_up(place: _Place, print_line: PrintLine) -> int:
    if place.stopping:
        print_line(
            f"interrupted: {len(place.done)} done, {len(place.waiting)} to do, state saved; call again to continue"
        )
        return 130
    if place.failed or place.blocked:
        print_line(f"{len(place.done)} done, {len(place.failed)} failed, {len(place.blocked)} blocked")
        return 1
    return 0


@contextmanager
def _signals(place: _Place, print_line: PrintLine) -> Iterator[None]:
    """The first Ctrl-C or TERM asks the trainings to save and leave; the next one ends them at once."""

    def pass_on(number: int, frame: object) -> None:
        for process in place.running:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL if place.stopping else signal.SIGTERM)
        if not place.stopping:
            print_line("asked to stop: trainings save and leave; once more to end them at once")
        place.stopping = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
