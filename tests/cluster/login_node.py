"""The login node of a real SLURM: one store, one data set, one profile, and the command line as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.job_file import Job, read_job
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from tests.cluster.slurm import NODES, Cluster

TINY = Path(__file__).parents[1] / "fixtures" / "students" / "tiny-retinanet.py"
PROFILE: dict[str, Any] = {"gpus": 0, "cpus": 1, "workers": 0, "mem_gb": 2.5, "hours": {"small": 0.1}}
BASE = f"""\
question: Does a submission do what it says?
base:
  dataset: scenes
  student: {TINY}
  schedule: smoke
  schedule.iterations: 2
  schedule.batch: 4
"""
TEACHER = """\
teachers:
  classifier:
    network: resnet18
    schedule: demo-classifier
    schedule.iterations: 2
    schedule.batch: 4
    schedule.min_top1: 0.0
    schedule.warmup.iterations: 0
    input: 32
"""


@dataclass(frozen=True)
class LoginNode:
    """`folder` holds the definitions and the profile, `folder/runs` the store."""

    cluster: Cluster
    folder: Path
    data: Path

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def define(self, name: str, *parts: str) -> None:
        (self.folder / f"{name}.yaml").write_text("\n".join((BASE, *parts)))

    def profile(self, **facts: Any) -> None:
        """The tests' machine (one core a run, no GPU), with these keys added or replaced."""
        lines = [f"{key}: {json.dumps(value)}\n" for key, value in {**PROFILE, **facts}.items()]
        (self.folder / "tiny.yaml.profile").write_text("".join(lines))

    def command(self, name: str, sweep: str, *words: str) -> list[str]:
        """`c2d sweep NAME SWEEP ...` with this store; submit and retry get profile and data as well."""
        given = str(self.folder / f"{sweep}.yaml")
        place = ["--runs", str(self.runs)]
        if name in ("submit", "retry"):
            place += ["--data", str(self.data), "--where", "slurm", "--profile", str(self.folder / "tiny.yaml.profile")]
        return [sys.executable, "-m", "c2d", "sweep", name, given, *place, *words]

    def sweep(
        self, name: str, sweep: str, *words: str, code: int | None = 0, answer: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Call it and wait; `code` is the exit code it has to have (None: any), `answer` its standard input."""
        done = subprocess.run(
            self.command(name, sweep, *words), env=os.environ | env, input=answer, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        assert code is None or done.returncode == code, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def submit(self, sweep: str, *words: str, code: int = 0) -> str:
        return self.sweep("submit", sweep, "--no-forward", *words, code=code).stdout

    def status(self, sweep: str, **env: str) -> dict[str, dict[str, Any]]:
        """{run id: its row} as `status --json` prints them, from a process of its own."""
        done = self.sweep("status", sweep, "--json", code=None, **env)
        assert done.returncode in (0, 1), done.stderr
        return {run["run"]: run for run in json.loads(done.stdout)["runs"]}

    def record(self, sweep: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((RunStore(self.runs).sweeps / f"{sweep}.json").read_text())
        return value

    def job(self, run: str) -> Job:
        found = read_job(RunFolder(self.runs / run))
        assert found is not None
        return found

    def until(self, sweep: str, state: str, *, runs: list[str] | None = None, seconds: float = 150) -> None:
        """Wait until these runs of a sweep (default: all) have that state."""
        seen: dict[str, Any] = {}

        def there() -> bool:
            time.sleep(1)  # every look is a process of its own, and the trainings need the cores
            seen.update(self.status(sweep))
            return all(seen[run]["state"] == state for run in (runs or seen))

        try:
            self.cluster.until(there, f"the runs of {sweep} are {state}", seconds)
        except Exception as error:
            rows = "\n".join(f"{run}: {row['state']}: {row['reason']}" for run, row in seen.items())
            raise AssertionError(f"{error}\n{rows}\n{self.logs(sweep)}") from None

    def logs(self, sweep: str, lines: int = 25) -> str:
        """The last lines of every job's output."""
        files = sorted((RunStore(self.runs).sweeps / sweep).glob("*/*.out"))
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-lines:]) for path in files[-4:]
        )

    def queued(self) -> list[str]:
        """Every job of the queue, a line for each task of an array: "123_4 PENDING"."""
        return self.cluster.run("squeue -hr -o '%i %T'").stdout.split("\n")[:-1]

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Nothing starts: SLURM takes jobs and keeps them waiting, as on a cluster without a free node."""
        nodes = f"nodename={','.join(NODES)}"
        self.cluster.run(f"scontrol update {nodes} state=drain reason=test")
        try:
            yield
        finally:
            self.cluster.run(f"scontrol update {nodes} state=resume")

    @contextmanager
    def no_images(self) -> Iterator[None]:
        """The training images are gone for a while."""
        there, away = self.data / "scenes" / "train", self.data / "scenes" / "train.away"
        there.rename(away)
        try:
            yield
        finally:
            away.rename(there)
