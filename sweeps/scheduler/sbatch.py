"""Submit a script with sbatch exactly once, although the controller may be busy or sbatch may time out.

sbatch may time out after the controller has accepted the job. So before a second call the queue is searched for the
job's unique name, and if the queue does not answer either, nothing is submitted.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from c2d.core.errors import RunError
from sweeps.scheduler import queue, slurm_command

Cause = Literal["busy", "limit", "dependency", "array", "refused"]
TIMEOUT_S = 90.0  # sbatch itself gives up after SLURM's MessageTimeout, 10 s unless the cluster says otherwise
GIVE_UP_S = 120.0
DOUBT_S = 15.0
"""Seconds in which the queue is searched, at least twice, before a second call: the first one may arrive late."""
LONGEST_WAIT_S = 32.0
sleep = time.sleep

# First match wins.
_CAUSES: tuple[tuple[Cause, str], ...] = (
    ("limit", r"(QOS|Assoc)\w{0,60}Submit"),
    ("refused", r"(QOS|Assoc)\w{0,60}Limit"),  # too long or too large: a later call is refused as well
    ("limit", "violates accounting/QOS policy"),
    ("dependency", "Job dependency problem|Invalid dependency|dependency specification"),
    ("array", "Invalid job array specification"),
    (
        "busy",
        "timed out|temporarily unable to accept|temporarily unavailable|unable to contact|connection refused|"
        "connect failure|connection reset|zero bytes were transmitted|backup controller|standby mode|"
        "transport endpoint|no route to host|unexpected message received|max(imum)? job count",
    ),
)
_DOUBTFUL = re.compile("timed out|zero bytes were transmitted|connection reset|unexpected message", re.IGNORECASE)

# Variables of a surrounding job and of the launcher's own processes, which a new job must not inherit.
_FOREIGN = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")
_DISTRIBUTED = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
# For sbatch a variable overrides the script. The flags of the script come from the profile, and these break a launch.
_VARIABLE_OF = {"array": "ARRAY_INX", "time": "TIMELIMIT", "mem": "MEM_PER_NODE"}
_BREAKING = ("WAIT", "ERROR", "NO_REQUEUE", "MEM_PER_NODE", "MEM_PER_CPU", "MEM_PER_GPU", "DEPENDENCY")


class NotSubmitted(RunError):
    """sbatch refused the array, and it is not in the queue.

    Attributes:
        cause: kind of refusal.
        text: message of sbatch.
    """

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(f"sbatch: {text}")
        self.cause = cause
        self.text = text


def sbatch(script: Path, name: str, print_line: Callable[[str], None]) -> str:
    """Submit a script and return the job's number. Waits about GIVE_UP_S seconds for a busy controller.

    Args:
        name: the script's --job-name, unique.
        print_line: called with a line about each repetition.

    Raises:
        NotSubmitted: SLURM refused it, or stayed busy.
        slurm_command.Unreachable: it is unknown whether SLURM accepted it; see `sweeps.launchers.recover_submission`.
    """
    waited, delay, doubt = 0.0, 1.0, False
    while True:
        number, error = _call(script)
        if number is not None:
            return _one_of(name, number, print_line) if doubt else number
        cause = cause_of(error)
        doubt = doubt or bool(_DOUBTFUL.search(error))
        if cause != "busy":
            raise NotSubmitted(cause, error)
        print_line(f"{name}: SLURM is busy ({error}); retrying")
        absent = 0
        while True:
            if waited >= GIVE_UP_S:
                if doubt:
                    raise slurm_command.Unreachable(f"{name}: {error}")
                raise NotSubmitted("busy", f"{error}; the same after {waited:.0f} s")
            sleep(delay)
            waited, delay = waited + delay, min(2 * delay, LONGEST_WAIT_S)
            try:
                found = queue.find_by_name(name)
            except slurm_command.Unreachable as silent:
                error, absent = silent.what, 0
                continue
            if found is not None:
                print_line(f"{name}: was submitted by the call that failed, as job {found}")
                return found
            absent += 1
            if not doubt or (waited >= DOUBT_S and absent >= 2):
                break


def cause_of(error: str) -> Cause:
    """Return the kind of refusal for an error message of sbatch."""
    return next((cause for cause, signs in _CAUSES if re.search(signs, error, re.IGNORECASE)), "refused")


def environment(script: str) -> dict[str, str]:
    """Return this process's environment without variables that override the script or belong to another job.

    Args:
        script: text of the batch script.
    """
    flags = re.findall(r"^#SBATCH --([a-z-]+)", script, re.MULTILINE)
    ours = {_VARIABLE_OF.get(flag, flag.upper().replace("-", "_")) for flag in flags} | set(_BREAKING)
    return {
        key: value
        for key, value in os.environ.items()
        if (key in _KEPT or not key.startswith(_FOREIGN))
        and key not in _DISTRIBUTED
        and not (key.startswith("SBATCH_") and key.removeprefix("SBATCH_") in ours)
    }


def _one_of(name: str, number: str, print_line: Callable[[str], None]) -> str:
    """Return the first job of that name. A duplicate is harmless: its tasks find no pickles and end."""
    try:
        numbers = queue.find_all_by_name(name)
    except slurm_command.Unreachable:
        return number
    if len(numbers) > 1:
        print_line(f"{name}: SLURM has accepted it {len(numbers)} times ({', '.join(numbers)}); only one of them runs")
    return numbers[0] if numbers else number


def _call(script: Path) -> tuple[str | None, str]:
    """Return (number, "") or (None, message of sbatch)."""
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(script)],
            capture_output=True,
            timeout=TIMEOUT_S,
            env=environment(script.read_text()),
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"sbatch timed out after {TIMEOUT_S:.0f} s"
    except OSError as error:
        return None, f"cannot start sbatch: {error.strerror}"
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    # --parsable prints NUMBER, or NUMBER;CLUSTER.
    match = re.search(r"^(?:Submitted batch job )?([0-9]+)(?:;\S*)?\s*$", out, re.MULTILINE)
    if done.returncode == 0 and match:
        return match[1], ""
    # The words "timed out" make this a doubtful case: SLURM may have accepted the job.
    if done.returncode == 0:
        return None, f"timed out waiting for a number; its output was {out.strip()[:200]!r}"
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in err.splitlines() if line.strip()]
    return None, "; ".join(lines)[:400] or f"exit code {done.returncode}"
