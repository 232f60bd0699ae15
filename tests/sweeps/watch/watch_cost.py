"""What a refresh of `c2d sweep watch` costs: `python -m tests.sweeps.watch.watch_cost RUNS [REFRESHES]`.

A synthetic store on this disk, every run launched by a SLURM that answers at once: 64 runs train (one log line a
refresh, a heartbeat every second one, 900 lines before), 60 % are done, 3 % have failed, the others are pending.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.suite.synthetic_store import make_store
from c2d.core.job_file import Job, write_job
from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.scheduler.queue import QueueAnswer
from sweeps.scheduler.slurm_output import JobFacts
from sweeps.watch.kept_queue import KeptQueue
from sweeps.watch.kept_reader import KeptReader
from sweeps.watch.terminal_table import WatchTable
from sweeps.watch.watch_loop import WatchedSweeps
from sweeps.watch.watch_page import watch_page

TRAINING = 64
EVERY_S = 5.0


def write_store(runs: Path, count: int) -> tuple[list[RunFolder], dict[str, JobFacts]]:
    """Write the store; return the runs that train, and what SLURM reports of all jobs."""
    places = itertools.count()

    def state(labels: dict[str, str], seed: int) -> str:
        place = next(places)
        if place < TRAINING:
            return "running"
        return "failed" if place % 33 == 0 else "done" if place < 0.6 * count else "waiting"

    axes = {"lambda": [str(k) for k in range(count // 20)], "method": ["a", "b"]}
    record = make_store(runs, axes, seeds=10, state=state)
    training, facts = [], {}
    slurm = {"running": "RUNNING", "waiting": "PENDING", "failed": "FAILED", "done": "COMPLETED"}
    for place, cell in enumerate(record["cells"]):
        run, number = RunFolder(runs / cell["run"]), f"{100 + place // 1000}_{place % 1000}"
        before = run.read_status()["state"]
        write_job(
            run, Job(sweep="made", where="slurm", state="submitted", name="j", job=number, gpus=1, folder="/none")
        )
        facts[number] = JobFacts(number, state=slurm[before], node="n1")
        if before == "running":
            training.append(run)
            write_heartbeat(run)
            run.metrics.write_text("".join(event(step) for step in range(50, 45_001, 50)))
        elif before == "waiting":
            atomic_write_json(run.status, {"format": 1, "state": "waiting", "attempt": 0})
    return training, facts


def write_heartbeat(run: RunFolder) -> None:
    status: dict[str, Any] = run.read_status()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"heartbeat": now, "host": "n1", "iteration": 45_000, "iterations": 90_000, "elapsed_s": 40_000.0}
    atomic_write_json(run.status, {**status, **facts})


def event(step: int) -> str:
    facts = {"event": "train", "iteration": step, "time": 1.8e9 + step, "loss": 2 / step, "terms": "x" * 400}
    return json.dumps(facts) + "\n"


def bytes_read() -> int:
    """Bytes that this process has read from files so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def main(count: int, refreshes: int) -> None:
    """Print a line for each refresh."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        training, facts = write_store(runs, count)
        at = [0.0]

        def answer(jobs: Iterable[str]) -> QueueAnswer:
            return QueueAnswer({job: facts[job] for job in jobs})

        queue = KeptQueue(answer, lambda: at[0])
        reader = KeptReader(queue, lambda: at[0])
        sweeps = WatchedSweeps(runs, ["made"], reader=reader)
        for refresh in range(refreshes):
            for run in training:
                with run.metrics.open("a") as stream:
                    stream.write(event(45_050 + 50 * refresh))
                if refresh % 2:
                    write_heartbeat(run)
            before, folders, began = bytes_read(), reader.folders_read, time.process_time()
            view = sweeps.read(time.time())
            read_s = time.process_time() - began
            Console(width=160, height=50, file=io.StringIO()).print(WatchTable(view, is_screen=True))
            page = watch_page(view)
            print(
                f"{count} runs, refresh {refresh}: {read_s:.2f} s of CPU to read, "
                f"{time.process_time() - began - read_s:.2f} s to draw; {reader.folders_read - folders} folders and "
                f"{(bytes_read() - before) / 1000:.0f} kB read, SLURM asked {queue.calls} times so far, "
                f"page of {len(page) / 1000:.0f} kB",
                flush=True,
            )
            at[0] += EVERY_S


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 8)
