"""Environment of a job on its node: rank and rendezvous variables from SLURM, and a temporary folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

FIRST_PORT, PORTS = 12_000, 20_000
"""Rendezvous ports: above the well-known ones, and below 32768, where Linux starts its ephemeral ports."""
PORT_STEP = 7919
"""A restarted job uses a port far from its last one, in case that one was in use."""


def rank_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of torch.distributed, from those of SLURM; {} for a job of one process, or outside SLURM.

    The port is computed from the job's number and its restarts, so that every rank finds the same one without
    communication, and two jobs of one node have different ones. If another program uses the port, the job fails as
    `hang`, is requeued, and takes another port.

    >>> rank_variables({"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "70",
    ...                 "SLURM_JOB_NODELIST": "n[2-3]"})["MASTER_ADDR"]
    'n2'
    """
    if "SLURM_PROCID" not in environment or int(environment.get("SLURM_NTASKS") or 1) <= 1:
        return {}
    job, restarts = int(environment["SLURM_JOB_ID"]), int(environment.get("SLURM_RESTART_COUNT") or 0)
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_NTASKS"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "MASTER_ADDR": first_host(environment["SLURM_JOB_NODELIST"]),
        "MASTER_PORT": str(FIRST_PORT + (job + PORT_STEP * restarts) % PORTS),
    }


def first_host(nodes: str) -> str:
    """Return the first host of a SLURM node list.

    >>> [first_host(nodes) for nodes in ("n[1-3,5]", "a,b[01-02]", "rack[02-03]n[7,9],x")]
    ['n1', 'a', 'rack02n7']
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else nodes)


def offline_variables(environment: Mapping[str, str], download: bool) -> dict[str, str]:
    """Return the variables with which libraries of a job ask no server; what is set already stays.

    Everything that a job reads is on its disks (`c2d prefetch`). The libraries are read when they are imported.

    >>> offline_variables({"HF_HUB_OFFLINE": "0", "WANDB_MODE": "online"}, download=False)
    {'HF_HUB_DISABLE_TELEMETRY': '1', 'TRANSFORMERS_OFFLINE': '1'}

    Args:
        environment: of the job.
        download: the profile allows the job to download weights.
    """
    wanted = {"HF_HUB_DISABLE_TELEMETRY": "1", "WANDB_MODE": "offline"}
    if not download:
        wanted |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return {name: value for name, value in wanted.items() if name not in environment}


@contextmanager
def job_tmp(given: str | None) -> Iterator[Path]:
    """Set TMPDIR of this process to a new folder, and remove the folder at the end.

    Folders that killed processes of the same job left on this node are removed as well.

    Args:
        given: parent folder, with environment variables of the node; None: TMPDIR, else /tmp.
    """
    name = f"c2d-{os.environ.get('SLURM_JOB_ID') or 'local'}-{os.environ.get('LOCAL_RANK') or 0}"
    base = Path(os.path.expanduser(os.path.expandvars(given or os.environ.get("TMPDIR") or "/tmp")))
    try:
        base.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f"{name}-{os.getpid()}-", dir=base))
    except OSError as error:
        place = Path(tempfile.mkdtemp(prefix=f"{name}-{os.getpid()}-", dir="/tmp"))
        line = f"warning: temporary files go to {place}, not to {base}: {error.strerror}"
        print(line, file=sys.stderr, flush=True)
    for left in base.glob(f"{name}-*-*"):
        number = left.name.removeprefix(f"{name}-").split("-")[0]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(left, ignore_errors=True)
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(place)
    tempfile.tempdir = None  # python caches its first value
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        tempfile.tempdir = None
        if before is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = before
