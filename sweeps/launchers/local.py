"""Launch runs on this machine: a few processes at once, teachers before students, the cores divided among them.

Every run is a process of its own, with the code of the snapshot. A process that is killed from outside is restarted as
often as sweeps/failures/retry_policy.py allows. Ctrl-C and TERM are passed on, so that trainings save.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from c2d.core.job_file import LAUNCHER_HEARTBEAT, has_launcher_ended, launched_since, read_attempts, read_job
from c2d.core.process.usable_cores import usable_cores
from c2d.core.run_folder import RunFolder
from c2d.core.run_state import HEARTBEAT_LIMIT_S
from sweeps.failures.log_paths import local_log
from sweeps.failures.retry_policy import backoff_s
from sweeps.launchers.launch_request import LaunchRequest, PrintLine, Task
from sweeps.launchers.local_jobs import add_local_details, change_by_other_shell, threads_of_attempt
from sweeps.launchers.local_process import processes_from_environment, start_process, visible_gpus
from sweeps.launchers.progress import progress
from sweeps.launchers.snapshot import snapshot_folder
from sweeps.node.on_exit import handle_exit
from sweeps.node.verify_snapshot import FAILURE_CLASS, failure_reason, record_code_failure, snapshot_problem
from sweeps.scheduler.scontrol import JobStart

POLL_S = 0.2
LAUNCHER_HEARTBEAT_S = 30.0


@dataclass
class _TaskStates:
    """The tasks of one launch. A task is in exactly one of `waiting` to `blocked`.

    Attributes:
        running: {process: (task, slot)}; each slot has a GPU of its own.
        failed: {task id: line that was printed}.
        blocked: {task id: id of what it waited for}.
        not_before: {task id: time.monotonic() of its next start}, for a task that is restarted.
        stopping: Ctrl-C or TERM has arrived; nothing is started any more.
    """

    waiting: list[Task]
    running: dict[subprocess.Popen[bytes], tuple[Task, int]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)
    stopping: bool = False


def launch(
    request: LaunchRequest, print_line: PrintLine, at_once: int | None = None, threads: int | None = None
) -> int:
    """Run all tasks, and return when they have ended.

    Args:
        at_once: processes at once; default: C2D_LOCAL_WORKERS, else one a GPU, else 2.
        threads: of each process; default: the cores divided among the processes that can run together. The last digits
            of a run's numbers depend on it, so a run that has an attempt keeps its own.

    Returns:
        0 when all tasks are done, 1 when some failed or are blocked, 130 when interrupted.
    """
    cores, gpus = usable_cores(), visible_gpus()
    slots = at_once or processes_from_environment() or (len(gpus) if gpus else min(2, cores))
    share = threads or max(1, cores // max(1, min(slots, len({task.run for task in request.tasks}))))
    threads_of = {task.id: threads or threads_of_attempt(task.run) or share for task in request.tasks}
    states = _TaskStates(list(request.tasks))
    folder, touched = add_local_details(request, threads_of), 0.0
    with _pass_on_signals(states, print_line), progress(print_line) as show:
        while states.running or (states.waiting and not states.stopping):
            if not states.stopping:
                _block(states, request, print_line)
                for task in _ready(states, request)[: slots - len(states.running)]:
                    slot = min(set(range(slots)) - {taken for _, taken in states.running.values()})
                    states.waiting.remove(task)
                    if change := change_by_other_shell(task.run, folder):
                        states.failed[task.id] = f"{task.id}: {change} before its turn"
                        print_line(states.failed[task.id])
                        continue
                    code = task.snapshot or request.snapshot
                    if problem := snapshot_problem(snapshot_folder(request.runs, code), code):
                        record_code_failure(task.run.path, failure_reason(problem), "local")
                        states.failed[task.id] = f"failed: {task.id} ({FAILURE_CLASS}): {failure_reason(problem)}"
                        print_line(states.failed[task.id])
                        continue
                    gpu = gpus[slot % len(gpus)] if gpus else None
                    states.running[start_process(task, request, folder, threads_of[task.id], gpu)] = (task, slot)
            time.sleep(POLL_S)
            for process in [process for process in states.running if process.poll() is not None]:
                task, _ = states.running.pop(process)
                _handle_end(task, process.returncode, states, folder, print_line)
            show(_run_states(states, request))
            if time.monotonic() - touched > LAUNCHER_HEARTBEAT_S:
                (folder / LAUNCHER_HEARTBEAT).touch()
                touched = time.monotonic()
    return _exit_code(states, print_line)


def _ready(states: _TaskStates, request: LaunchRequest) -> list[Task]:
    """Return the waiting tasks whose teachers and canary are done, in order; never two tasks of one run at once."""
    own = {task.id for task in request.tasks}
    busy = {task.run for task, _ in states.running.values()}
    ready = []
    for task in states.waiting:
        if task.run in busy or states.not_before.get(task.id, 0.0) > time.monotonic():
            continue
        if all(need in states.done if need in own else _other_launch(need, request) == "done" for need in task.after):
            ready.append(task)
            busy.add(task.run)
    return ready


def _block(states: _TaskStates, request: LaunchRequest, print_line: PrintLine) -> None:
    """Block tasks that wait for a task that failed, and then those that wait for them."""
    own = {task.id for task in request.tasks}
    changed = True
    while changed:
        changed = False
        for task in list(states.waiting):
            for need in task.after:
                failed = need in states.failed or need in states.blocked
                if failed or (need not in own and _other_launch(need, request) == "failed"):
                    states.waiting.remove(task)
                    states.blocked[task.id] = need
                    print_line(f"blocked: {task.id} by {need}")
                    changed = True
                    break


def _other_launch(need: str, request: LaunchRequest) -> str:
    """Return the state of a task of another launch, from its run folder: "done", "pending" or "failed"."""
    run = RunFolder(request.runs / need.partition("#")[0])
    status = run.try_read_status()
    job = read_job(run)
    if status["state"] == "done":
        return "done"
    if status["state"] == "failed" and not launched_since(status, job):
        return "failed"
    if job is None or job.state == "cancelled":
        return "failed"
    ended = job.where == "local" and has_launcher_ended(job, time.time())
    heartbeat = run.status.stat().st_mtime if status["state"] == "running" else 0.0
    return "failed" if ended and time.time() - heartbeat > HEARTBEAT_LIMIT_S else "pending"


def _handle_end(task: Task, returncode: int, states: _TaskStates, folder: Path, print_line: PrintLine) -> None:
    code = returncode if returncode >= 0 else 128 - returncode  # a signal, as a shell reports it
    if code == 0 or task.run.is_done:  # done, and killed afterwards
        states.done.add(task.id)
    elif states.stopping and code == 130:
        states.waiting.append(task)
    else:
        lines: list[str] = []
        handle_exit(task.run, code, JobStart(state="RUNNING"), lines.append, lambda: "", by="local")
        status = task.run.try_read_status()
        if status["state"] == "waiting":
            classes = [attempt.get("class") for attempt in read_attempts(task.run)]
            in_a_row = next((n for n, name in enumerate(reversed(classes)) if name != classes[-1]), len(classes))
            states.not_before[task.id] = time.monotonic() + backoff_s(in_a_row)
            states.waiting.append(task)
            print_line(lines[-1])
        else:
            failure_class, reason = status.get("failure_class") or "unknown", status.get("reason") or lines[-1]
            log = task.run.log if task.run.log.exists() else local_log(folder, task.run.id)
            states.failed[task.id] = f"failed: {task.id} ({failure_class}): {reason}; log: {log}"
            print_line(states.failed[task.id])


def _run_states(states: _TaskStates, request: LaunchRequest) -> dict[RunFolder, str]:
    """Return {run: running, done, failed, blocked or waiting} for the progress display; a canary counts as its run."""
    ids_of = {"done": states.done, "failed": states.failed, "blocked": states.blocked}
    shown = {
        task.run: next((name for name, ids in ids_of.items() if task.id in ids), "waiting") for task in request.tasks
    }
    return shown | {task.run: "running" for task, _ in states.running.values()}


def _exit_code(states: _TaskStates, print_line: PrintLine) -> int:
    if states.stopping:
        print_line(
            f"interrupted: {len(states.done)} done, {len(states.waiting)} to do, state saved; "
            "run the same command again to continue"
        )
        return 130
    if states.failed or states.blocked:
        print_line(f"{len(states.done)} done, {len(states.failed)} failed, {len(states.blocked)} blocked")
        return 1
    return 0


@contextmanager
def _pass_on_signals(states: _TaskStates, print_line: PrintLine) -> Iterator[None]:
    """Pass the first Ctrl-C or TERM on as TERM: trainings save and end. The second one kills them."""

    def pass_on(number: int, frame: object) -> None:
        for process in states.running:
            if process.poll() is None:
                process.kill() if states.stopping else process.terminate()
        if not states.stopping:
            print_line("stopping: trainings save and end; repeat the signal to kill them")
        states.stopping = True

    if threading.current_thread() is not threading.main_thread():  # signal handlers belong to the main thread
        yield
        return
    earlier = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
