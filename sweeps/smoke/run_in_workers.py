"""Train run folders in a few worker processes at once, teachers before their students."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.process.python_process import module_command, module_environment
from c2d.core.process.usable_cores import usable_cores
from c2d.core.run_folder import RunFolder
from c2d.specs.spec import RunSpec
from c2d.specs.teachers import needed_runs

WORKER = "sweeps.smoke.smoke_worker"
WORKER_LOG = "workers.log"
"""File of the store with what the workers print."""


@dataclass(frozen=True)
class Ended:
    """A run that was tried.

    Attributes:
        run: its id.
        seconds: of wall-clock.
        memory_mib: peak of its worker so far.
        reason: why it could not be tried, or died without a word; "" otherwise.
    """

    run: str
    seconds: float = 0.0
    memory_mib: int = 0
    reason: str = ""


@dataclass
class _Queue:
    """Runs that wait, in order, and those that have ended. Use it under `changed`."""

    waiting: list[RunSpec]
    ended: dict[str, bool]
    changed: threading.Condition
    stopped: bool = False

    def stop(self) -> None:
        """Let no further run begin, and none be counted that ends from now on."""
        with self.changed:
            self.stopped = True
            self.waiting.clear()
            self.changed.notify_all()

    def take(self) -> RunSpec | None:
        """Return the first run whose teachers have ended, after waiting for one; None when no run is left."""
        with self.changed:
            while self.waiting:
                for spec in self.waiting:
                    if all(run in self.ended for run in needed_runs(spec.teachers).values()):
                        self.waiting.remove(spec)
                        return spec
                self.changed.wait()
            return None


def run_in_workers(
    specs: Mapping[str, RunSpec],
    inits: Mapping[str, str],
    runs: Path,
    data: Path,
    at_once: int,
    handle_end: Callable[[RunSpec, Ended], bool],
) -> None:
    """Train every run; returns when all have ended.

    Args:
        specs: {run id: spec}, each with its spec.json in the store.
        inits: {run id: `init` of the real run}: the pixels that those weights belong to are compared with the run's.
        runs: the store.
        data: root of the data cards.
        at_once: worker processes; each has an equal share of the cores as its threads.
        handle_end: called after every run, by one thread at a time; returns whether the run is good. The students of
            another one are not tried.
    """
    queue = _Queue(list(specs.values()), {}, threading.Condition())
    threads = max(1, usable_cores() // at_once)
    started: list[subprocess.Popen[str]] = []

    def work() -> None:
        worker: subprocess.Popen[str] | None = None
        while (spec := queue.take()) is not None:
            bad = [run for run in needed_runs(spec.teachers).values() if not queue.ended[run]]
            if bad:
                end = Ended(spec.id, reason=f"not tried: its teacher {bad[0]} failed")
            else:
                if worker is None or worker.poll() is not None:
                    started.append(worker := _start(runs, data, threads))
                end = _train(worker, RunFolder(runs / spec.id), inits.get(spec.id, ""))
            with queue.changed:
                if queue.stopped:
                    return
                queue.ended[spec.id] = handle_end(spec, end)
                queue.changed.notify_all()
        if worker is not None and worker.stdin is not None:
            worker.stdin.close()
            worker.wait()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(specs)))]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    finally:  # Ctrl-C: nothing of a smoke is worth saving
        queue.stop()
        for process in started:
            process.kill()
            process.wait()


def _start(runs: Path, data: Path, threads: int) -> subprocess.Popen[str]:
    own: dict[str, Any] = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / WORKER_LOG).open("ab") as log:
        return subprocess.Popen(
            module_command(WORKER, "--data", str(data), "--threads", str(threads)),
            env=module_environment(**own),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def _train(worker: subprocess.Popen[str], run: RunFolder, init: str) -> Ended:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(json.dumps({"run": str(run.path), "init": init}) + "\n")
        worker.stdin.flush()
        answer = worker.stdout.readline()
    except BrokenPipeError:
        answer = ""
    if not answer:
        return Ended(run.id, reason=f"its process ended with exit code {worker.wait()}; see {WORKER_LOG} of the store")
    return Ended(**json.loads(answer))
