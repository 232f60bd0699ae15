"""The job of `c2d doctor --profile`: a callable that writes what a job of a profile finds on its node."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.process.python_process import module_command, module_environment
from c2d.core.process.usable_cores import usable_cores
from c2d.core.run_folder import atomic_write_json, node_name

# Below the time limit of the probe, five minutes, so that the answer is still written.
DOCTOR_S = 200


@dataclass(frozen=True)
class ProbeJob:
    """Write `<answer>.<rank>.json` in every process; the first one also runs `c2d doctor`. Picklable.

    Attributes:
        answer: path of the answers without `.<rank>.json`.
        runs: the store.
        data: root of the data cards.
        tmp: folder for temporary files; None: the default.
    """

    answer: str
    runs: str
    data: str
    tmp: str | None = None

    def __call__(self) -> str:
        began = time.time()
        rank = int(os.environ.get("SLURM_PROCID") or 0)
        facts: dict[str, Any] = {
            "format": 1,
            "rank": rank,
            "began": began,
            "host": socket.gethostname(),
            "node": node_name(),
            "partition": os.environ.get("SLURM_JOB_PARTITION"),
            "job": os.environ.get("SLURM_JOB_ID"),
            "python": sys.version.split()[0],
            "executable": sys.executable,
            "c2d": str(Path(__file__).resolve().parents[2]),
            "cores": usable_cores(),
            "memory_gb": memory_gb(),
            "cuda_visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "tmp": self._tmp(),
            "runs": folder_facts(Path(self.runs)),
            "data": folder_facts(Path(self.data)),
        }
        if rank == 0:
            facts["doctor"] = doctor()
        facts["time"] = time.time()
        atomic_write_json(Path(f"{self.answer}.{rank}.json"), facts)
        return self.answer

    def _tmp(self) -> dict[str, Any]:
        place = os.path.expanduser(os.path.expandvars(self.tmp)) if self.tmp else tempfile.gettempdir()
        return folder_facts(Path(place))


def folder_facts(folder: Path) -> dict[str, Any]:
    """Return {path, visible, writable, free_gb}. Writes a file, because the permissions of a mount may be wrong."""
    facts: dict[str, Any] = {"path": str(folder), "visible": folder.is_dir(), "writable": False, "free_gb": None}
    if facts["visible"]:
        with suppress(OSError):
            facts["free_gb"] = round(shutil.disk_usage(folder).free / 2**30, 1)
        with suppress(OSError):
            handle, name = tempfile.mkstemp(prefix=".probe.", dir=folder)
            os.close(handle)
            os.unlink(name)
            facts["writable"] = True
    return facts


def memory_gb() -> float | None:
    """Return the memory of this job in GiB: the smallest of cgroup limits, SLURM's limit and the machine's memory."""
    found: list[float] = []
    with suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    with suppress(ValueError):
        found.append(int(os.environ.get("SLURM_MEM_PER_NODE") or "") / 1024)
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            group = line.split(":", 2)[-1].lstrip("/")
            limits = (
                Path("/sys/fs/cgroup") / group / "memory.max",
                Path("/sys/fs/cgroup/memory") / group / "memory.limit_in_bytes",
            )
            for path in limits:
                with suppress(OSError, ValueError):
                    # Without a limit, cgroup v2 holds the word `max` (a ValueError), v1 a number above the memory.
                    found.append(int(path.read_text()) / 2**30)
    return round(min(found), 1) if found else None


def doctor() -> dict[str, Any]:
    """Run `c2d doctor --json` on this node; return its answer, or {"error": reason}."""
    try:
        done = subprocess.run(
            module_command("c2d", "doctor", "--json"), env=module_environment(),
            capture_output=True, text=True, timeout=DOCTOR_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        value: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {DOCTOR_S} s; imports are slow on this file system"}
    except (OSError, ValueError):
        return {"error": " ".join((done.stderr or done.stdout).split())[-300:] or f"exit code {done.returncode}"}
    return value
