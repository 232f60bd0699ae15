"""One call of sbatch that submits once: a busy controller is asked again, a call that timed out is looked for first.

sbatch may time out after the controller has taken the job. So nothing is sent a second time before the queue was asked
for the job's unique name, and where the queue does not answer either, nothing is sent at all.
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
from sweeps.scheduler import queue

Cause = Literal["busy", "limit", "dependency", "array", "refused"]
TIMEOUT_S = 90.0  # sbatch itself gives up after SLURM's MessageTimeout, 10 s unless the cluster says otherwise
GIVE_UP_S = 120.0
DOUBT_S = 15.0
"""A call that timed out may arrive late: so long, and twice, the queue is asked before the array is sent again."""
LONGEST_WAIT_S = 32.0
wait_s = time.sleep

# First match wins.
_CAUSES: tuple[tuple[Cause, str], ...] = (
    ("limit", r"(QOS|Assoc)\w*Submit"),
    ("refused", r"(QOS|Assoc)\w*Limit"),  # too long, too large: so it is tomorrow
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

# Of the job this call may run in, and of the launcher's own processes: a new job must not inherit them.
_FOREIGN = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")
_DISTRIBUTED = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
# sbatch lets a variable overrule the script. A flag the script has is the profile's word, and these break a launch.
_VARIABLE_OF = {"array": "ARRAY_INX", "time": "TIMELIMIT", "mem": "MEM_PER_NODE"}
_BREAKING = ("WAIT", "ERROR", "NO_REQUEUE", "MEM_PER_CPU", "MEM_PER_GPU", "DEPENDENCY")


class NotSubmitted(RunError):
    """sbatch refused, and the array is certainly not in the queue."""

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(f"sbatch: {text}")
        self.cause = cause
        self.text = text


def sbatch(script: Path, name: str, print_line: Callable[[str], None]) -> str:
    """Submit a script and return the job's number; a controller that stays busy is given about GIVE_UP_S seconds.

    Args:
        name: the script's --job-name, unique.

    Raises:
        NotSubmitted: SLURM refused it, or stayed busy.
        queue.Unreachable: nobody can say whether it was taken; `sweeps.launchers.slurm.adopt` finds out later.
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
        print_line(f"{name}: SLURM is busy ({error}); asking again")
        absent = 0
        while True:
            if waited >= GIVE_UP_S:
                if doubt:
                    raise queue.Unreachable(f"{name}: {error}")
                raise NotSubmitted("busy", f"{error}; still so after {waited:.0f} s")
            wait_s(delay)
            waited, delay = waited + delay, min(2 * delay, LONGEST_WAIT_S)
            try:
                found = queue.find_by_name(name)
            except queue.Unreachable as silent:
                error, absent = silent.what, 0
                continue
            if found is not None:
                print_line(f"{name}: had been submitted all the same, as job {found}")
                return found
            absent += 1
            if not doubt or (waited >= DOUBT_S and absent >= 2):
                break


def cause_of(error: str) -> Cause:
    """Why sbatch said no."""
    return next((cause for cause, signs in _CAUSES if re.search(signs, error, re.IGNORECASE)), "refused")


def environment(script: str) -> dict[str, str]:
    """This process's environment without what would overrule the script or lead the job astray."""
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
    """The first of the jobs of that name. A twin does no harm: its tasks find their pickles taken and end."""
    try:
        numbers = queue.find_all_by_name(name)
    except queue.Unreachable:
        return number
    if len(numbers) > 1:
        print_line(
            f"{name}: SLURM has taken it {len(numbers)} times ({', '.join(numbers)}); only one of them does the work"
        )
    return numbers[0] if numbers else number


def _call(script: Path) -> tuple[str | None, str]:
    """(number, "") or (None, what sbatch says)."""
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
    match = re.search(r"^(?:Submitted batch job )?([0-9]+)(?:;\S*)?\s*$", out, re.MULTILINE)
    if done.returncode == 0 and match:
        return match[1], ""
    if done.returncode == 0:
        return None, f"timed out waiting for a number; it said {out.strip()[:200]!r}"
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in err.splitlines() if line.strip()]
    return None, "; ".join(lines)[:400] or f"exit code {done.returncode}"
