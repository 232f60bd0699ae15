"""Checks of the machine: GPU and driver, the commands of SLURM, free disk space."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from c2d.cli.checks import check_result
from c2d.cli.checks.check_result import CheckResult, installed_version

SLURM = ("sbatch", "squeue", "sacct", "scontrol")
LOW_GIB, EMPTY_GIB = 10.0, 1.0  # a run of the demo writes about 0.1 GiB, one of the paper's about 2
TIMEOUT_S = 20


def check_gpu() -> CheckResult:
    """Find NVIDIA GPUs and their driver, and whether torch can use them."""
    driver = _driver_version()
    if installed_version("torch") is None:
        return CheckResult("GPU", "ok", f"not checked: torch is missing{f'; driver {driver}' if driver else ''}")
    torch = check_result.load_module("torch")
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = ", ".join(f"{card.name} ({card.total_memory / 2**30:.0f} GiB)" for card in cards)
        return CheckResult("GPU", "ok", f"{names}; driver {driver or 'unknown'}")
    if driver:
        why = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch is CPU only"
        fix = "install a torch that fits the driver, or a newer driver; CUDA_VISIBLE_DEVICES must not be empty"
        return CheckResult("GPU", "warn", f"driver {driver}, but torch finds no GPU ({why})", fix)
    return CheckResult("GPU", "ok", "none; everything runs on the CPU")


def _driver_version() -> str:
    """Return the version of NVIDIA's driver, "" if there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.split()[0]
    return ""


def check_slurm() -> CheckResult:
    """Find the commands of SLURM, and whether its controller and its accounting answer."""
    have = [tool for tool in SLURM if shutil.which(tool)]
    missing = [tool for tool in SLURM if tool not in have]
    if not have:
        return CheckResult("SLURM", "ok", "none on this machine; runs are started here")
    if missing:
        fix = "load the cluster's module or add its folder to PATH; sweeps need all four tools"
        return CheckResult("SLURM", "warn", f"{', '.join(have)}; missing: {', '.join(missing)}", fix)
    tools = f"{', '.join(have)} at {Path(str(shutil.which('sbatch'))).parent}"
    version = _output_of("sbatch", "--version").removeprefix("slurm ").strip()
    if not (partitions := _output_of("sinfo", "--noheader", "--format=%R")):
        fix = (
            "`scontrol ping` reports whether the controller is up; SLURM_CONF, if set, has to name this cluster's file"
        )
        return CheckResult("SLURM", "warn", f"{version or 'SLURM'}: the controller does not answer; {tools}", fix)
    names = ", ".join(dict.fromkeys(partitions.split()))
    # An empty list is an answer, too: the call fails only where accounting is off.
    accounting = bool(_output_of("sacct", "--noheader", "--allusers", "--starttime=now", "--format=JobID", empty="yes"))
    found = f"{version or 'version unknown'}, partitions {names}, {'' if accounting else 'no '}accounting; {tools}"
    if not accounting:
        fix = "sweeps work without it; the reason of a failed job is then found in its logs only"
        return CheckResult("SLURM", "warn", found, fix)
    return CheckResult("SLURM", "ok", found)


def _output_of(*command: str, empty: str = "") -> str:
    """Return what a command prints: "" if it fails or takes too long, `empty` if it succeeds and prints nothing."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode == 0:
            return done.stdout.strip() or empty
    return ""


def check_disk(name: str, folder: Path) -> CheckResult:
    """Check that a folder is writable and its disk has space left.

    Args:
        name: name of the check.
        folder: the folder.
    """
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.1f} GiB free in {folder}"
    if not os.access(folder, os.W_OK):
        return CheckResult(
            name, "fail", f"{folder} is not writable", "work in a folder of your own, or name one with --runs"
        )
    if free < EMPTY_GIB:
        return CheckResult(name, "fail", found, "free some space: checkpoints of a run need up to 2 GiB")
    if free < LOW_GIB:
        return CheckResult(name, "warn", found, "enough for the demo; a sweep keeps two checkpoints a run, up to 2 GiB")
    return CheckResult(name, "ok", found)
