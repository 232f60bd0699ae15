"""The process of one local run: `python -m sweeps.node.job` with its share of the cores, its GPU, and the snapshot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from c2d.core.errors import InputError
from c2d.core.process.python_process import module_command
from sweeps.failures.log_paths import local_log
from sweeps.launchers.launch_request import LaunchRequest, Task
from sweeps.launchers.snapshot import snapshot_environment

PROCESSES_VARIABLE = "C2D_LOCAL_WORKERS"
_JOB_PREFIXES = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SUBMITIT_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_RANK")
"""Variables of a surrounding job, which a local process must not inherit."""


def start_process(
    task: Task, request: LaunchRequest, folder: Path, threads: int, gpu: str | None
) -> subprocess.Popen[bytes]:
    """Start a run, detached from the terminal.

    Args:
        folder: where its output goes, see `sweeps.failures.log_paths.local_log`.
        threads: of torch in this process.
        gpu: a name for CUDA_VISIBLE_DEVICES; None leaves the variable alone.
    """
    profile = request.profile
    options = ["--data", str(request.data), "--threads", str(threads)]
    options += ["--workers", str(min(profile.workers, threads - 1))]
    options += ["--download"] if profile.download else []
    options += ["--stage-data", profile.stage_data] if profile.stage_data else []
    options += ["--tmp", profile.tmp] if profile.tmp else []
    options += [word for tracker in profile.track for word in ("--track", tracker)]
    options += ["--stop-after", str(task.stop_after)] if task.stop_after is not None else []
    with open(local_log(folder, task.run.id), "ab") as output:
        return subprocess.Popen(
            module_command("sweeps.node.job", str(task.run.path), *options),
            env=process_environment(request, threads, gpu, task.snapshot),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches the launcher alone, which passes it on once
        )


def process_environment(request: LaunchRequest, threads: int, gpu: str | None, snapshot: str = "") -> dict[str, str]:
    """Return the environment of a run's process: the snapshot's code, its threads, no variable of a surrounding job.

    Args:
        snapshot: digest; "" for the request's.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_JOB_PREFIXES)}
    # passive: on a machine shared with others, threads that spin while they wait cost ten times the time
    share = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "C2D_DATA": str(request.data)}
    card = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    given = {key: os.path.expandvars(value) for key, value in request.profile.environment.items()}
    code = snapshot_environment(request.runs, snapshot or request.snapshot)
    # An empty entry of PYTHONPATH would mean the current folder.
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    code["PYTHONPATH"] = os.pathsep.join([code["PYTHONPATH"], *paths])
    return {**inherited, **share, **card, **given, **code}


def visible_gpus() -> list[str]:
    """Return the GPUs that a process of this machine may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return [name for name in (part.strip() for part in shown.split(",")) if name and name != "-1"]
    devices = Path("/proc/driver/nvidia/gpus")  # without importing torch
    return [str(index) for index in range(len(list(devices.iterdir())))] if devices.is_dir() else []


def processes_from_environment() -> int | None:
    """Return C2D_LOCAL_WORKERS, the number of processes at once; None where it is not set.

    Raises:
        InputError: it is not a number above 0.
    """
    text = os.environ.get(PROCESSES_VARIABLE)
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"{PROCESSES_VARIABLE} is {text!r}; give the number of processes to run at once, 1 or more")
    return int(text)
