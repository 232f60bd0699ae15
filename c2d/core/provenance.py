"""Code, packages and machine of an attempt, for env.json: every number can be traced to them. No torch at import."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from c2d.core import __version__
from c2d.core.json_values import SMALL_BYTES, parse_json
from c2d.core.masking import mask_command, mask_environment
from c2d.core.regular_file import read_bytes
from c2d.core.run_folder import NODE_VARIABLE

SLURM_FACTS = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_JOB_NODELIST",
    NODE_VARIABLE,
    "SLURM_JOB_PARTITION",
    "SLURM_NTASKS",
)
KEPT_VARIABLES = re.compile(r"^(C2D|SLURM|CUDA|OMP|MKL|NCCL|PYTORCH|TORCH|MMENGINE)_|^(LOCAL_)?RANK$|^WORLD_SIZE$")


def attempt_facts() -> dict[str, Any]:
    """Return one entry of env.json: time (UTC), code, packages, machine, command, SLURM's variables, environment.

    Secrets in variables and in the command are replaced by `***`.
    """
    snapshot = snapshot_facts(Path(__file__).parents[2])
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "c2d": __version__,
        "git": snapshot["git"] if snapshot else git_state(Path(__file__).parents[1]),
        "snapshot": snapshot["digest"] if snapshot else None,
        "python": platform.python_version(),
        "packages": dict(_packages()),
        "machine": {
            "host": socket.gethostname(),
            "system": platform.platform(),
            "cpu": _cpu(),
            "cpus": os.cpu_count(),
            **_torch(),
        },
        "command": mask_command(sys.argv),
        "slurm": {key: os.environ[key] for key in SLURM_FACTS if key in os.environ},
        "environment": mask_environment({key: os.environ[key] for key in os.environ if KEPT_VARIABLES.search(key)}),
    }


@cache
def _packages() -> dict[str, str]:
    """{installed distribution: version}; reading them takes most of a second."""
    return dict(sorted({item.metadata["Name"]: item.version for item in distributions()}.items()))


def snapshot_facts(root: Path) -> dict[str, Any] | None:
    """Return {digest, git} of the snapshot that the code at `root` is; None where it is no snapshot of a sweep.

    `git` is the state of the checkout when the snapshot was taken; see `git_state`.
    """
    if not os.environ.get("C2D_SNAPSHOT"):
        return None
    try:
        facts = parse_json(read_bytes(root / "snapshot.json", most=SMALL_BYTES))
        return {"digest": facts["digest"], "git": facts["git"]}
    except (OSError, ValueError, KeyError, TypeError):  # the variable is set, but other code was imported
        return None


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return {sha, dirty, diff_sha256} of the checkout that holds `folder`; None outside a repository.

    diff_sha256 is a digest of the uncommitted changes and of the names of untracked files; None without any.
    """

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    sha = git("rev-parse", "HEAD")
    if sha is None or git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None  # another project's repository around an installed copy
    diff = (git("diff", "HEAD") or "") + (git("ls-files", "--others", "--exclude-standard") or "")
    return {
        "sha": sha.strip(),
        "dirty": bool(diff),
        "diff_sha256": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
    }


def _cpu() -> str:
    try:
        models = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        models = []
    return models[0] if models else platform.processor()


def _torch() -> dict[str, Any]:
    """What torch computes with. On a CPU the number of threads is part of it: sums are rounded in another order."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "threads": torch.get_num_threads(),
        "gpu": gpus or None,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpus else None,
    }
