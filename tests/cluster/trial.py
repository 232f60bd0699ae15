"""One small training on the emulated cluster, submitted on the user's road, and what can be asked of it afterwards."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from c2d.core.archives.result_differences import COSTS
from c2d.core.job_file import Job, read_attempts, read_job
from c2d.core.run_folder import RunFolder, atomic_write_json, read_json
from sweeps.actions import select_retries
from sweeps.actions.relaunch import relaunch
from sweeps.actions.submit import resolve, submit_sweep
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import Definition, parse_definition
from sweeps.definition.profile import Hours, Profile
from sweeps.state.manifest import load_manifest
from sweeps.state.plan import Row, read_plan
from tests.c2d.conftest import TINY
from tests.cluster.slurm import Cluster

DEFINITION = """\
question: Does a training survive what a cluster does to it?
name: survival
base:
  dataset: scenes
  student: {student}
  schedule: {{name: smoke, values: {{iterations: {iterations}, batch: 2}}}}
axes:
  method: {{baseline: []}}
"""
TEST_CLUSTER = Profile(
    name="test", partition="main", gpus=0, cpus=1, mem_gb=2, max_mem_gb=4, hours=Hours(small=0.25), workers=0,
    signal_delay_s=10,
)  # fmt: skip


def definition(iterations: int) -> Definition:
    """The one cell that every test here trains: the tiny student for so many iterations of some 20 ms."""
    return parse_definition(DEFINITION.format(student=TINY, iterations=iterations), "survival.yaml", "survival")


class Trial:
    """One submitted run. `runs` is a store of its own.

    wait: seconds that one step of a life (queue, start-up, death, requeue) may take before the test fails.
    """

    wait = 90.0

    def __init__(self, cluster: Cluster, runs: Path, data: Path, iterations: int, **profile: Any) -> None:
        self.cluster = cluster
        self.definition = definition(iterations)
        self.place = Workspace(runs, data, "slurm", TEST_CLUSTER.model_copy(update=profile))
        self.run = RunFolder(runs / resolve(self.definition, self.place).cells[0].run)
        self.said: list[str] = []
        assert submit_sweep(self.definition, self.place, forward=False, print_line=self.said.append) == 0

    # -- what the user sees

    @property
    def launched(self) -> Job:
        job = read_job(self.run)
        assert job is not None, "the run was not submitted"
        return job

    @property
    def job(self) -> str:
        return str(self.launched.job)

    @property
    def status(self) -> dict[str, Any]:
        return self.run.read_status()

    @property
    def deaths(self) -> list[dict[str, Any]]:
        return read_attempts(self.run)

    @property
    def classes(self) -> list[str]:
        return [death["class"] for death in self.deaths]

    @property
    def row(self) -> Row:
        """As `c2d sweep status` shows it."""
        return read_plan(load_manifest(self.place.runs, "survival"), self.place.runs)[0][0]

    @property
    def log(self) -> str:
        """What the job said, all its lives."""
        with suppress(OSError):
            return (Path(self.launched.folder) / f"{self.job}_0_log.out").read_text(errors="replace")
        return ""

    @property
    def starts(self) -> list[int]:
        """Iterations after which the attempts continued, by the run's own log."""
        text = self.run.log.read_text() if self.run.log.exists() else ""
        return [int(found) for found in re.findall(r"continuing after iteration (\d+)", text)]

    @property
    def iteration(self) -> int:
        """The newest iteration in metrics.jsonl; 0 before the first."""
        with suppress(OSError, ValueError, IndexError):
            return int(json.loads(self.run.metrics.read_text().splitlines()[-1])["iteration"])
        return 0

    # -- waiting; whatever does not come fails with the end of the log

    def until(self, true: Callable[[], Any], what: str, seconds: float | None = None) -> None:
        limit, begun = seconds or self.wait, time.monotonic()
        while not true():
            if time.monotonic() - begun > limit:
                queue = self.cluster.run(f"squeue -a; scontrol show job {self.job}", check=False).stdout
                tail = "\n".join(self.log.splitlines()[-40:])
                deaths = "\n".join(map(str, self.deaths))
                raise AssertionError(
                    f"not the case after {limit:.0f} s: {what}\nstatus: {self.status}\n{deaths}\n{queue}\n"
                    f"the end of its log:\n{tail}"
                )
            time.sleep(0.1)

    def state(self) -> str:
        return self.cluster.state(self.job).split(" ")[0]

    def restarts(self) -> int:
        return int(self.cluster.field(self.job, "Restarts") or 0)

    def until_iteration(self, number: int) -> None:
        self.until(lambda: self.iteration >= number, f"iteration {number}")

    def until_requeued(self, times: int = 1) -> None:
        self.until(lambda: self.restarts() == times and self.state() == "PENDING", f"requeued {times} times")

    def release(self, left: bool = False) -> None:
        """Start it now, as soon as everything of its last life is gone; SLURM holds a requeued job back for a while.

        A job that comes back to a node on which its old batch script has not ended is held (launch failed).

        Args:
            left: a process of it stays on its old node.
        """
        if not left:
            self.until(lambda: not self._processes(), "its last life is over")
        time.sleep(2)  # started within the second of its requeue, SLURM 22.05 refuses its credential: FAILED, 1:0
        self.cluster.release(self.job)

    def _processes(self) -> list[int]:
        """Whatever the job has started, its batch script and SLURM's own steps included.

        Another cluster's jobs have the same numbers, so a process has to be of this cluster too.
        """
        conf, sign = f"SLURM_CONF={self.cluster.conf}".encode(), f"SLURM_JOB_ID={self.job}".encode()
        step, found = f"slurmstepd: [{self.job}.".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    environment = (entry / "environ").read_bytes().split(b"\0")
                    if conf in environment and (sign in environment or step in (entry / "cmdline").read_bytes()):
                        found.append(int(entry.name))
        return found

    def until_next_slice(self) -> None:
        """Until it has died once more and been released, or is done."""
        count = len(self.deaths)
        self.until(lambda: len(self.deaths) > count or self.status["state"] == "done", "the slice ends")
        if self.status["state"] != "done":
            self.until_requeued(count + 1)
            self.release()

    def until_done(self) -> None:
        self.until(lambda: self.status["state"] == "done" and self.state() == "COMPLETED", "done", 2 * self.wait)

    # -- what is done to it

    def pids(self) -> list[int]:
        """The python process of the job's step, as long as it lives."""
        found = []
        for pid in self._processes():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                step = b"SLURM_PROCID=0" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if step and b"submitit.core._submit" in words and not words[0].endswith(b"srun"):
                    found.append(pid)
        return found

    @property
    def step(self) -> str:
        """The step of this start of the job; numbers begin anew with every start."""
        return f"{self.job}.0"

    def signal(self, number: int) -> bool:
        """To the python process itself; False when there is none at the moment."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                return True
        return False

    def retry(self, *classes: str) -> None:
        """`c2d sweep retry --class ...`"""
        record = load_manifest(self.place.runs, "survival")
        rows, _ = read_plan(record, self.place.runs)
        chosen = select_retries.select_retries(rows, classes=classes, ignore_backoff=True)
        assert [row.run for row in chosen] == [self.run]
        assert relaunch(record, rows, chosen, self.place, self.said.append) == 0


def undisturbed(root: Path, data: Path, *iterations: int) -> subprocess.Popen[bytes]:
    """Train without SLURM and without interruption, one after the other, each in the store `root`/ITERATIONS."""
    calls = []
    for number in iterations:
        place = Workspace(root / str(number), data, "local", TEST_CLUSTER)
        cell = resolve(definition(number), place).cells[0]
        folder = RunFolder(place.runs / cell.run)
        atomic_write_json(folder.spec, cell.spec.to_json())
        calls.append(f"TrainingJob({str(folder.path)!r}, {str(data)!r}, threads={TEST_CLUSTER.cpus})()")
    code = "; ".join(["from sweeps.node.job import TrainingJob", *calls])
    environment = {**os.environ, "OMP_NUM_THREADS": str(TEST_CLUSTER.cpus), "OMP_WAIT_POLICY": "PASSIVE"}
    with (root / "log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=log, stderr=log)


def assert_equal(run: RunFolder, other: RunFolder) -> None:
    """Weights, detections, figures and curves of two runs are the same, to the last bit."""
    import torch

    assert run.id == other.id
    weights, wanted = (torch.load(one.student, weights_only=True) for one in (run, other))
    weights, wanted = (one.get("state_dict", one) for one in (weights, wanted))
    assert list(weights) == list(wanted)
    assert wanted
    assert [name for name in wanted if not torch.equal(weights[name], wanted[name])] == []
    assert _unzipped(run.detections) == _unzipped(other.detections)
    assert _figures(run) == _figures(other)
    assert _curve(run) == _curve(other)


def _unzipped(path: Path) -> Any:
    found = json.loads(gzip.decompress(path.read_bytes()))
    assert found
    return found


def _figures(run: RunFolder) -> dict[str, Any]:
    result = read_json(run.result)
    return {key: value for key, value in result.items() if key not in (*COSTS, "audit")}  # audit names paths


def _curve(run: RunFolder) -> list[tuple[int, float]]:
    events = map(json.loads, run.metrics.read_text().splitlines())
    return [(event["iteration"], event["loss"]) for event in events]
