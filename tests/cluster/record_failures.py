"""Record what real failures leave behind: tests/fixtures/failures/<case>/, the evidence that triage is tested with.

    python -m tests.cluster.record_failures [CASE ...]    # as root, where SLURM is installed; minutes

Every case submits a real run of c2d to the emulated cluster, by the launcher that `c2d sweep submit` uses, and lets it
die for its own reason. Nothing is written by hand but `expected.json`, which says what was done to it. A case holds

    stderr.txt      the end of the job's log, all ranks, as it was before c2d judged the death
    sacct.txt       `sacct --duplicates --parsable2` of the job, with its header
    exit_code       of the job's command, as its batch script saw it; absent where that was killed as well
    status.json     of the run, and ranks/*.json, where the run wrote them
    expected.json   {class, rank, about}; rank is null where nothing can tell it

In place of `sweeps.node.on_exit` the batch script calls a recorder that copies this, so c2d requeues nothing. Names of
this machine are replaced: the store is /store, the environment /opt/venv, the host the node's name.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2d.core.job_file import read_job
from c2d.core.run_folder import RunFolder
from sweeps.definition.profile import Hours, Profile
from sweeps.launchers import slurm
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.snapshot import take_snapshot
from sweeps.node.node_environment import first_host
from sweeps.scheduler.slurm_output import SACCT_FORMAT
from tests.c2d.conftest import TINY, TinyStore
from tests.cluster.slurm import NODES, Cluster, marked, missing

OUT = Path(__file__).parents[1] / "fixtures" / "failures"
LINES = 80
LONG = 1_000_000  # iterations nobody waits for

# Stands in the profile's place of python: `sweeps.node.on_exit FOLDERS RC` is answered by copying the evidence.
RECORDER = """\
#!/bin/bash
case "$*" in
*sweeps.node.on_exit*)
    printf '%s\\n' "${{@: -1}}" >{kept}/exit_code
    cp {run}/status.json {kept}/ 2>/dev/null
    cp -r {run}/ranks {kept}/ 2>/dev/null
    exit 0 ;;
esac
{before}
exec {python} "$@"
"""


@dataclass
class Scene:
    """One case: what is asked, on what machine, and what is done to it while it runs."""

    about: str
    expected: str
    rank: int | None = 0
    act: Callable[[Stage], None] | None = None  # once the training runs; None: it dies by itself
    prepare: Callable[[TinyStore, RunFolder], None] | None = None  # between the question and the submission
    iterations: int = LONG
    question: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    before: str = ""  # shell code before the job's python
    python: str = sys.executable
    small_disk: bool = False


@dataclass
class Stage:
    """A running case."""

    cluster: Cluster
    job: str
    run: RunFolder
    store: Path

    @property
    def node(self) -> str:
        return self.cluster.field(self.job, "BatchHost")

    def pids(self) -> list[int]:
        """The processes of the job's ranks, by what they say themselves."""
        sign = f"SLURM_JOB_ID={self.job.partition('_')[0]}".encode()
        found = []
        for pid in marked(self.cluster.conf):  # of this cluster alone: another one counts its jobs from 1 as well
            entry = Path(f"/proc/{pid}")
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"submitit.core._submit" in words and b"srun" not in words[0] and sign in environment:
                rank = next((int(v[13:]) for v in environment if v.startswith(b"SLURM_PROCID=")), -1)
                found.append((rank, pid))
        return [pid for rank, pid in sorted(found) if rank >= 0]


def scancel(stage: Stage) -> None:
    stage.cluster.run(f"scancel {stage.job}")


def no_more_memory(stage: Stage) -> None:
    """From now on the process gets no more address space than it has."""
    (pid,) = stage.pids()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))


def preempt(stage: Stage) -> None:
    stage.cluster.submit("sleep 1", "-p", "urgent", "-w", stage.node, "-c2")


def node_down(stage: Stage) -> None:
    stage.cluster.down(stage.node)


def node_lost(stage: Stage) -> None:
    """The whole node is gone: its daemon and, as a machine without power does, the job's processes."""
    node, pids = stage.node, stage.pids()
    stage.cluster.kill_slurmd(node)
    stage.cluster.until(lambda: stage.cluster.field(stage.job, "Restarts") == "1", "SLURM has given the job back")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def kill(rank: int) -> Callable[[Stage], None]:
    return lambda stage: os.kill(stage.pids()[rank], signal.SIGKILL)


def without_images(tiny_store: TinyStore, run: RunFolder) -> None:
    shutil.rmtree(tiny_store.data / "scenes")


def fill(tiny_store: TinyStore, run: RunFolder) -> None:
    free = shutil.disk_usage(tiny_store.runs).free
    (tiny_store.runs / "somebody-else").write_bytes(b"x" * (free - (260 << 10)))


def broken_student(folder: Path) -> str:
    """A neck that expects other channels than its backbone gives: found at the first forward."""
    path = folder / "wrong-neck.py"
    path.write_text(TINY.read_text().replace("in_channels=[8, 16]", "in_channels=[8, 32]"))
    return str(path)


TWO = {"nodes": 2}
# A process that hangs in the kernel hears no signal. One that is stopped does: SLURM sends SIGCONT with every other.
# Blocked signals stay blocked over exec.
DEAF = (
    f"exec {sys.executable} -c 'import os, signal, sys;"
    " signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2]);"
    ' os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\' "$@"'
)
ON_RANK_1 = 'if [ "$SLURM_PROCID" = 1 ]; then {}; fi'
SYSTEM_PYTHON = "/usr/bin/python3"
SCENES: dict[str, Scene] = {
    "host-oom-slurm": Scene("more resident memory than --mem; SLURM's own limit", "host-oom", profile={"mem_gb": 0.2}),
    "host-oom-allocator": Scene(
        "no more address space while it trained (RLIMIT_AS); torch does not say that it was memory", "user-code", 0,
        no_more_memory,
        iterations=300, profile={"hours": Hours(small=3 / 60)},
    ),
    "cancelled": Scene("scancel while it trained", "cancelled", None, scancel),
    "time-limit-deaf": Scene(
        "a process that hears neither USR2 nor TERM until its time was over", "time-limit", None, before=DEAF
    ),
    "time-limit-saved": Scene("USR2 before the limit; it saved and left", "time-limit", None),
    "preempted": Scene("a job of partition urgent took its node; it saved and left", "preempted", None, preempt),
    "node-down": Scene("the node was set down while it trained", "node-failure", None, node_down),
    "node-lost": Scene("the node's slurmd and the job's processes were killed", "node-failure", None, node_lost),
    "killed": Scene("kill -9 of its process", "killed", 0, kill(0)),
    "nan": Scene(
        "a learning rate of 1e30", "nan",
        question={"schedule": {"optimizer": {"type": "SGD", "lr": 1e30, "momentum": 0.9, "weight_decay": 0.0}}},
    ),
    "import": Scene("the node's python is another, without our packages", "import", python=SYSTEM_PYTHON),
    "data": Scene("the data set is not where it was", "data", prepare=without_images),
    "disk": Scene("a disk with a quarter of a megabyte left", "disk", prepare=fill, iterations=40, small_disk=True),
    "user-code": Scene("a neck that does not fit its backbone", "user-code", question={"student": "wrong-neck"}),
    "two-ranks-killed": Scene("rank 1 of 2 on two nodes got kill -9", "killed", 1, kill(1), profile=TWO),
    "two-ranks-import": Scene(
        "on the second of two nodes python lacks our packages", "import", 1, profile=TWO,
        before=ON_RANK_1.format(f'exec {SYSTEM_PYTHON} "$@"'),
    ),
}  # fmt: skip


def record(name: str, scene: Scene, cluster: Cluster) -> None:
    """Play one case and write its folder."""
    with store(scene.small_disk) as tiny_store:
        kept = tiny_store.data.parent / "kept"
        kept.mkdir()
        question = dict(scene.question)
        if question.get("student") == "wrong-neck":
            question["student"] = broken_student(tiny_store.data.parent)
        values = {"iterations": scene.iterations, "batch": 4, **question.pop("schedule", {})}
        run = tiny_store.create_run(schedule={"name": "smoke", "values": values}, **question)
        recorder = tiny_store.data.parent / "recorder"
        text = RECORDER.format(kept=kept, run=run.path, before=scene.before, python=scene.python)
        recorder.write_text(text)
        recorder.chmod(0o755)
        profile = Profile(
            **{
                "name": "test", "partition": "main", "gpus": 0, "cpus": 1, "mem_gb": 3.0, "signal_delay_s": 10,
                "hours": Hours(small=1 / 60), "workers": 0, "python": shlex.quote(str(recorder)), **scene.profile,
            }
        )  # fmt: skip
        code = take_snapshot(tiny_store.runs)
        if scene.prepare:
            scene.prepare(tiny_store, run)
        slurm.launch(LaunchRequest(name, tiny_store.runs, tiny_store.data, [Task(run)], profile, code), print)
        launched = read_job(run)
        assert launched is not None
        assert launched.job is not None
        stage = Stage(cluster, launched.job, run, tiny_store.runs)
        if scene.act:
            cluster.until(lambda: run.metrics.exists() and run.metrics.stat().st_size > 0, f"{name} trains", 60)
            scene.act(stage)
        cluster.until(lambda: over(stage), f"{name} has ended", 150)
        time.sleep(3)  # accounting
        asked = f"sacct --duplicates --parsable2 --format={SACCT_FORMAT} -j {stage.job}"
        sacct = cluster.run(asked).stdout
        cluster.run(f"scancel {stage.job}", check=False)
        write(name, scene, stage, kept, Path(launched.folder), sacct)
        cluster.clear()
        for node in set(NODES) - set(cluster.daemons):
            cluster.start_slurmd(node)
        cluster.until_idle()


def over(stage: Stage) -> bool:
    """The job has ended, or SLURM has given it back after its first life."""
    state, restarts = stage.cluster.state(stage.job).split(" ")[0], stage.cluster.field(stage.job, "Restarts")
    return restarts not in ("", "0") or state not in ("", "PENDING", "RUNNING", "COMPLETING")


def write(name: str, scene: Scene, stage: Stage, kept: Path, logs: Path, sacct: str) -> None:
    place = OUT / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if not (kept / "status.json").exists() and stage.run.status.exists():
        shutil.copy(stage.run.status, kept)
    if not (kept / "ranks").exists() and (stage.run.path / "ranks").exists():
        shutil.copytree(stage.run.path / "ranks", kept / "ranks")
    files: dict[str, str] = {"sacct.txt": sacct}
    paths = sorted(logs.glob(f"{stage.job}_*_log.*"))
    if len(paths) == 1:
        files["stderr.txt"] = tail(paths[0])
    else:
        files["stderr.txt"] = "".join(f"==> rank {path.name.split('_')[-2]} <==\n{tail(path)}" for path in paths)
    for path in [*kept.glob("*"), *kept.glob("ranks/*")]:
        if path.is_file():
            files[str(path.relative_to(kept))] = path.read_text(errors="replace")
    expected = {"class": scene.expected, "rank": scene.rank, "about": scene.about}
    files["expected.json"] = json.dumps(expected, indent=1) + "\n"
    node = first_host(next((line.split("|")[2] for line in sacct.splitlines()[1:]), "n1"))
    for file, text in files.items():
        (place / file).parent.mkdir(exist_ok=True)
        (place / file).write_text(neutral(text, stage.store.parent, stage.cluster, node))
    print(f"{name}: {', '.join(sorted(files))}", flush=True)


def tail(path: Path) -> str:
    return "".join(path.read_text(errors="replace").splitlines(keepends=True)[-LINES:])


def neutral(text: str, root: Path, cluster: Cluster, node: str) -> str:
    """The text without the names of this machine."""
    names = [
        (str(root), "/store"),
        (str(cluster.folder), "/var/spool/slurm"),
        (sys.prefix, "/opt/venv"),
        (sys.base_prefix, "/usr"),
        (str(Path(__file__).parents[2]), "/home/user/c2d"),
    ]
    for name, other in names:
        text = text.replace(name, other)
    host = socket.gethostname()
    text = text.replace(f" on {host},", f" on {node},")
    return text.replace(f'"{host}"', f'"{node}"').replace(f"hostname={host},", f"hostname={node},")


@contextmanager
def store(small: bool) -> Iterator[TinyStore]:
    """A store with scenes and without runs; `small`: on a disk of six megabytes."""
    from c2d.data.scenes.make_scenes import make_scenes

    root = Path(tempfile.mkdtemp(prefix="c2d-failures-", dir="/var/tmp"))
    runs = root / "runs"
    runs.mkdir()
    if small:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(runs)], check=True)
    try:
        make_scenes(root / "data" / "scenes", train=20, val=6, size=96, seed=0)
        yield TinyStore(root / "data", runs)
    finally:
        if small:
            subprocess.run(["umount", "--lazy", str(runs)], check=True)
        shutil.rmtree(root, ignore_errors=True)


def main(names: list[str]) -> None:
    if reason := missing():
        raise SystemExit(reason)
    if wrong := set(names) - set(SCENES):
        raise SystemExit(f"no such case: {', '.join(sorted(wrong))}; there are {', '.join(SCENES)}")
    folder = Path(tempfile.mkdtemp(prefix="c2d-slurm-", dir="/tmp"))
    cluster = Cluster(folder)
    try:
        cluster.start()
        os.environ.update(cluster.env())
        for name in names or SCENES:
            record(name, SCENES[name], cluster)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
