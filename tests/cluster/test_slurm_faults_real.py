"""Faults of a real SLURM: jobs that never start, no controller; the cap in full, odd paths, flags of sbatch."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder
from c2d.data.scenes.make_scenes import make_scenes
from sweeps.definition.sbatch_flags import read_flags
from tests.cluster.login_node import TEACHER, LoginNode
from tests.cluster.slurm import Cluster, end, missing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]

LIMITS = """\
AccountingStorageEnforce=associations,limits,qos
PartitionName=short Nodes=ALL Default=NO MaxTime=5 State=UP PriorityTier=1 PreemptMode=REQUEUE
"""
SEEDS = "axes:\n  method:\n    baseline: []\nseeds: 3\n"


@pytest.fixture(scope="module")
def limited() -> Iterator[Cluster]:
    """A cluster that enforces the limits of accounts, with a partition of five minutes."""
    if reason := missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="c2d-slurm-", dir="/tmp"))  # sockets need a short path
    up = Cluster(folder, extra=LIMITS)
    try:
        yield up.start()
    finally:
        up.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def login_node(limited: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoginNode]:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_")):
            monkeypatch.delenv(name)
    for name, value in limited.env().items():
        monkeypatch.setenv(name, value)
    make_scenes(tmp_path / "data" / "scenes", train=12, val=4, size=96, seed=0)
    found = LoginNode(limited, tmp_path, tmp_path / "data")
    found.profile()
    yield found
    limited.clear()
    limited.until_idle()


def pending(login_node: LoginNode, sweep: str, reason: str) -> list[str]:
    """Wait until the jobs of a sweep wait for this reason; return the commands of its hint."""
    found: list[str] = []

    def there() -> bool:
        done = login_node.sweep("status", sweep, "--json", code=None)
        found[:] = next((one["commands"] for one in json.loads(done.stdout)["pending"] if one["reason"] == reason), [])
        return bool(found)

    login_node.cluster.until(there, f"{reason} has a hint", 40)
    return found


def test_jobs_that_never_start_have_the_command_that_helps(login_node: LoginNode) -> None:
    run = login_node.cluster.run
    login_node.define("held", SEEDS)
    login_node.profile(partition="short")
    login_node.submit("held")
    job = str(login_node.job(next(iter(login_node.status("held")))).job).partition("_")[0]
    (limit,) = pending(login_node, "held", "PartitionTimeLimit")
    assert limit == f"scontrol update jobid={job}_[0-2] timelimit=$(sinfo -hp short -o %l | head -1)"
    text = " ".join(login_node.sweep("status", "held").stdout.split())
    assert "3 runs wait and do not start (PartitionTimeLimit): its time limit is longer than partition short" in text
    assert limit in " ".join(login_node.sweep("triage", "held").stdout.split())
    run(f"scontrol uhold {job}")
    (release,) = pending(login_node, "held", "JobHeldUser")
    run("scontrol update partitionname=short state=down")
    run("sacctmgr -i modify user root set maxjobs=0")
    try:
        assert release == "c2d sweep release held"
        run(limit)
        assert login_node.sweep("release", "held").stdout == f"released: 3 jobs ({job}_[0-2])\n"
        assert pending(login_node, "held", "PartitionDown")[-1] == f"scontrol update jobid={job}_[0-2] partition=NAME"
        run("scontrol update partitionname=short state=up")
        shown = pending(login_node, "held", "AssocMaxJobsLimit")
        assert shown == ["scontrol show assoc_mgr accounts=root flags=assoc"]
        assert "MaxJobs" in run(shown[0]).stdout
        run(f"scontrol hold {job}")
        assert pending(login_node, "held", "JobHeldAdmin") == [f"scontrol release {job}_[0-2]"]
        assert "cancelled 3 jobs" in login_node.sweep("cancel", "held", "--yes").stdout
    finally:
        run("sacctmgr -i modify user root set maxjobs=-1")
        run("scontrol update partitionname=short state=up")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_controller_that_is_gone(login_node: LoginNode) -> None:
    """First it does not answer (the slowest case for a client), then its process has ended."""
    cluster = login_node.cluster
    login_node.define("gone", SEEDS)
    login_node.profile(partition="short")  # where they never start
    login_node.submit("gone")
    runs = list(login_node.status("gone"))
    controller = cluster.daemons["slurmctld"]
    controller.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        found = json.loads(login_node.sweep("status", "gone", "--json").stdout)
        took_s = time.monotonic() - begun
        assert took_s < 15
        assert found["counts"] == {"unknown": 3}
        assert "squeue" in found["silence"]
        submitted = login_node.job(runs[0]).submitted
        assert found["runs"][0]["reason"].startswith(f"unknown since {submitted}: SLURM does not answer; last known")
    finally:
        controller.send_signal(signal.SIGCONT)
    end(cluster.daemons.pop("slurmctld"))
    before = files(login_node.runs)
    try:
        login_node.define("more", SEEDS.replace("3", "[7, 8]"))
        for command, sweep in (("cancel", "gone"), ("submit", "more")):
            words = ("--yes",) if command == "cancel" else ("--no-forward",)
            done = login_node.sweep(command, sweep, *words, code=1)
            assert done.stderr.startswith("error: SLURM does not answer (sc")
            assert done.stderr.count("\n") == 1
        assert files(login_node.runs) == before
    finally:
        cluster._daemon("slurmctld", "slurmctld", "-D")
        cluster._until("slurmctld", lambda: "UP" in cluster.run("scontrol ping", check=False).stdout)
    seen = login_node.status("gone")
    assert {row["state"] for row in seen.values()} == {"waiting"}, "nothing was lost"
    login_node.sweep("cancel", "gone", "--yes")


def test_the_cap_is_used_in_full_in_a_store_with_percent_signs(login_node: LoginNode, tmp_path: Path) -> None:
    """A teacher, then three students, two at once; the logs lie where the store is, whatever its name."""
    store = LoginNode(login_node.cluster, tmp_path / "50%a %j%%", login_node.data)
    store.folder.mkdir()
    store.profile(array_cap=2, mem_gb=2)
    store.define("cap", TEACHER, "axes:\n  method:\n    icod: [{icod: {}}]\nseeds: 3\n")
    store.submit("cap")
    students = str(store.job(store.record("cap")["cells"][0]["run"]).job).split("_")[0]
    seen: list[tuple[int, int, int]] = []  # running and waiting students, throttle
    begun = time.monotonic()
    while lines := store.queued():
        assert time.monotonic() - begun < 300, store.logs("cap")
        own = [line for line in lines if line.startswith(f"{students}_")]
        running, waiting = (sum(line.endswith(state) for line in own) for state in ("RUNNING", "PENDING"))
        seen.append((running, waiting, int(store.cluster.field(f"{students}_2", "ArrayTaskThrottle") or 0)))
        time.sleep(0.3)
    rows = store.status("cap")
    assert {row["state"] for row in rows.values()} == {"done"}, store.logs("cap")
    assert (0, 3, 1) in seen, "while the teacher trains, one slot is in reserve for its students"
    assert (2, 1, 2) in seen, "then they have the cap"
    assert max(running for running, _, _ in seen) == 2
    for run in rows:
        folder = Path(store.job(run).folder)
        assert folder.is_relative_to(store.folder)
        assert list(folder.glob("*_log.out"))
        assert RunFolder(store.runs / run).result.exists()


FREE_FLAGS = (
    "bb", "bbf", "begin", "cluster-constraint", "comment", "container", "contiguous", "core-spec", "cores-per-socket",
    "cpu-freq", "deadline", "delay-boot", "distribution", "exclude", "exclusive", "export", "export-file",
    "extra-node-info", "get-user-env", "gid", "gpu-bind", "gpu-freq", "gres-flags", "hold", "ignore-pbs", "input",
    "licenses", "mail-type", "mail-user", "mcs-label", "mincpus", "nice", "nodefile", "nodelist", "ntasks-per-core",
    "ntasks-per-socket", "overcommit", "oversubscribe", "parsable", "power", "priority", "profile", "propagate",
    "quiet", "reboot", "reservation", "sockets-per-node", "spread-job", "switches", "thread-spec", "threads-per-core",
    "tmp", "uid", "use-min-nodes", "verbose", "wckey",
)  # fmt: skip
"""They change nothing that we set."""
REPLACING_FLAGS = (
    "account", "constraint", "mem", "mem-per-cpu", "mem-per-gpu", "partition", "qos", "time", "time-min",
)  # fmt: skip
"""They take the place of ours."""


def test_every_flag_of_sbatch_is_known(limited: Cluster) -> None:
    """Every other flag is a key of the profile, or refused."""
    shown = subprocess.run(["sbatch", "--help"], env=limited.env(), capture_output=True, text=True, check=True).stdout
    flags = set(re.findall(r"^ +(?:-\w,? +)?--([a-z-]+)", shown, re.MULTILINE))
    assert len(flags) > 80
    accepted = set()
    for flag in flags:
        with suppress(InputError):
            read_flags({"sbatch": {flag: "1"}}, "lab.yaml")
            accepted.add(flag)
    assert accepted == {*FREE_FLAGS, *REPLACING_FLAGS} & flags
