"""Part `soak`: 2,000 tiny runs through the local launcher, 1,000 jobs through a real SLURM: memory, files, processes.

The runs are a script of a few lines in the place of the training, so that the launcher is what is measured.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from c2d.core.job_file import read_job
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.sweep_manifest import PlannedRun
from sweeps.definition.profile import Hours, Profile
from sweeps.launchers import slurm
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.snapshot import take_snapshot
from sweeps.state.plan import plan_rows
from tests.cluster.slurm import Cluster, missing
from tests.sweeps.launchers.test_local import write_snapshot
from tests.trust.forks import Started, start_fork, wait
from tests.trust.part import Outcome, Row, measure

LOCAL_RUNS = int(os.environ.get("C2D_TRUST_LOCAL_RUNS", "2000"))
JOBS = int(os.environ.get("C2D_TRUST_JOBS", "1000"))
AT_ONCE, EVERY_S = 4, 1.0
MOST_KIB_A_RUN = 4.0
"""Growth of a launcher's resident size for each run that ended: its tasks and messages are kept, and nothing else."""
JOB = """
import json, os, sys
folder = sys.argv[1]
status = {"format": 1, "state": "done", "attempt": 1, "pid": os.getpid(), "heartbeat": "2026-01-01T00:00:00+00:00"}
for name, value in (("result.json", {}), ("status.json", status)):
    with open(os.path.join(folder, name), "w") as stream:
        json.dump(value, stream)
"""


def rows(scratch: Path) -> Iterator[Row]:
    """One row for the local launcher, one for `status` in one process, one for SLURM."""
    yield measure("soak", f"{LOCAL_RUNS} runs through the local launcher, {AT_ONCE} at once",
                  f"all done; less than {MOST_KIB_A_RUN:.0f} KiB more memory a run, flat open files, no process left",
                  lambda: soak_local(scratch / "local", LOCAL_RUNS))  # fmt: skip
    yield measure("soak", f"state of {LOCAL_RUNS} runs, read 20 times in one process", "flat memory and open files",
                  lambda: soak_status(scratch / "local" / "runs"))  # fmt: skip
    if why := missing():
        yield Row("soak", f"{JOBS} jobs through SLURM", "needs a private SLURM", why, False)
        return
    yield measure("soak", f"{JOBS} jobs through SLURM", "all completed; files a job as for 10 jobs, no process left",
                  lambda: soak_slurm(scratch / "s", JOBS))  # fmt: skip


class Sample(NamedTuple):
    """Of one process: seconds, ended runs, resident KiB, open files, children."""

    at_s: float
    ended: int
    resident_kib: float
    files: int
    children: int


def soak_local(root: Path, count: int) -> Outcome:
    """Launch `count` runs from a fork, and watch it."""
    runs = root / "runs"
    snapshot = write_snapshot(
        runs, {"sweeps/__init__.py": "", "sweeps/node/__init__.py": "", "sweeps/node/job.py": JOB}
    )
    tasks = [Task(RunFolder(runs / f"run{number:05d}-s0")) for number in range(count)]
    for task in tasks:
        task.run.path.mkdir(parents=True)
    request = LaunchRequest("soak", runs, root / "data", tasks, Profile(name="p", workers=0), snapshot)

    def launch() -> None:
        from sweeps.launchers import local

        sys.exit(local.launch(request, lambda line: print(line, flush=True), at_once=AT_ONCE))

    begun = time.monotonic()
    started = start_fork(launch, root / "output")
    samples = list(_watch(started, runs))
    ended = wait(started, root / "output")
    seconds = time.monotonic() - begun
    done = sum((task.run.result).exists() for task in tasks)
    kib, files = _slope([sample.resident_kib for sample in samples], samples), max(sample.files for sample in samples)
    a_run = sum(1 for path in runs.rglob("*") if path.is_file() and "snapshots" not in path.parts) / count
    left = _session(started.pid)
    seen = (
        f"{done} done in {seconds:.0f} s, {kib:+.2f} KiB a run ({samples[-1].resident_kib / 1024:.0f} MiB at the end), "
    )
    seen += (
        f"at most {files} open files and {max(sample.children for sample in samples)} children, {a_run:.1f} files a run"
    )
    passed = ended.code == 0 and done == count and abs(kib) < MOST_KIB_A_RUN and not left
    passed = passed and files <= samples[0].files + 4 * AT_ONCE and a_run < 6
    if left:
        seen += f", {len(left)} processes left"
    return passed, seen, {"samples": [list(sample) for sample in samples[:: max(1, len(samples) // 50)]]}


def _watch(started: Started, runs: Path) -> Iterator[Sample]:
    """Sample the launcher until it has ended; the caller reaps it."""
    begun = time.monotonic()
    while True:
        with suppress(OSError, IndexError, ValueError):
            process = Path(f"/proc/{started.pid}")
            state = (process / "stat").read_text().rpartition(")")[2].split()
            if state[0] == "Z":
                return
            ended = sum(1 for _ in runs.glob("run*/result.json"))
            kib = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
            children = (process / "task" / str(started.pid) / "children").read_text().split()
            yield Sample(time.monotonic() - begun, ended, kib, len(os.listdir(process / "fd")), len(children))
        time.sleep(EVERY_S)


def _slope(values: list[float], samples: list[Sample]) -> float:
    """Growth for each ended run, after the first fifth."""
    first = len(samples) // 5
    ended = [float(sample.ended) for sample in samples]
    if len(set(ended[first:])) < 2:
        return 0.0
    return statistics.linear_regression(ended[first:], values[first:]).slope


def _session(leader: int) -> list[int]:
    """Processes of a session that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[3] == str(leader) and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def soak_status(runs: Path) -> Outcome:
    """Read the states of all runs again and again."""
    planned = [PlannedRun(path.name, "student") for path in sorted(runs.glob("run*"))]
    sizes, files = [], []
    for _ in range(20):
        states = {row.state for row in plan_rows(planned, runs, {}, queue_answered=False)}
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024)
        files.append(len(os.listdir("/proc/self/fd")))
    grown = sizes[-1] - sizes[4]
    return states == {"done"} and grown < 1024 and files[-1] == files[0], (
        f"{grown:+.0f} KiB from the fifth to the last time, {files[0]} open files, then {files[-1]}"
    )


def soak_slurm(root: Path, count: int) -> Outcome:
    """Submit `count` jobs whose runs are done to a private SLURM, in one array, and wait for them."""
    root.parent.chmod(0o755)  # the data base of the accounting runs as another user
    cluster = Cluster(root, max_array=count + 1)
    before = dict(os.environ)
    try:
        cluster.start()
        for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
            del os.environ[name]
        os.environ.update(cluster.env())
        few, many = _submit(cluster, root / "few", 10), _submit(cluster, root / "many", count)
    finally:
        os.environ.clear()
        os.environ.update(before)
        cluster.stop()
    left = [pid for pid in _processes_with(str(cluster.conf)) if pid != os.getpid()]
    seen = (
        f"{many[0]} completed in {many[1]:.0f} s; {many[2]:.2f} files and {many[3]:.1f} KiB a job in sweeps/ (10 jobs: "
    )
    seen += f"{few[2]:.2f}, {few[3]:.1f}); {len(left)} processes left"
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return many[0] == count and many[2] <= few[2] + 0.1 and not left, seen


def _submit(cluster: Cluster, root: Path, count: int) -> tuple[int, float, float, float]:
    """Return (completed jobs, seconds, files a job, KiB a job)."""
    runs = root / "runs"
    tasks = [Task(RunFolder(runs / f"run{number:05d}-s0")) for number in range(count)]
    for task in tasks:
        atomic_write_json(task.run.result, {"format": 1})
        task.run.write_status("done")
    profile = Profile(name="p", partition="main", gpus=0, cpus=1, mem_gb=1, hours=Hours(small=0.5), workers=0,
                      array_cap=8)  # fmt: skip
    request = LaunchRequest("soak", runs, root, tasks, profile, take_snapshot(runs))
    begun = time.monotonic()
    slurm.launch(request, lambda line: None)
    job = read_job(tasks[0].run)
    assert job is not None
    number = str(job.job).partition("_")[0]
    completed = 0
    while time.monotonic() - begun < 60 + 3 * count:
        listed = cluster.run(f"sacct -n -X -P -j {number} -o state", check=False).stdout.split()
        completed = sum(state == "COMPLETED" for state in listed)
        if completed == count:
            break
        time.sleep(2)
    files = [path for path in (runs / "sweeps").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    shutil.rmtree(runs / "snapshots", ignore_errors=True)
    return completed, time.monotonic() - begun, len(files) / count, size / 1024 / count


def _processes_with(text: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", text], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split()]
