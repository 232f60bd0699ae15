"""Call SLURM's commands: their output, and whether the controller answers at all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from c2d.core.errors import RunError

TIMEOUT_S = 30.0
SILENT = re.compile(
    "timed out|unable to contact|connection refused|connect failure|zero bytes were transmitted|"
    "transport endpoint|no route to host|connection reset",
    re.IGNORECASE,
)

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class Unreachable(RunError):
    """The controller does not answer, so the state of the jobs is unknown."""

    def __init__(self, what: str) -> None:
        super().__init__(f"SLURM does not answer ({what}); nothing was changed; retry in a minute")
        self.what = what


def available() -> bool:
    """Return whether sbatch and squeue are installed. The controller may still not answer."""
    return is_installed("sbatch") and is_installed("squeue")


def is_installed(command: str) -> bool:
    """Return whether a command of SLURM is installed."""
    return shutil.which(command) is not None


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the time of all calls inside together; each may take two thirds of what is left."""
    now = time.monotonic()
    outer = _deadline.get()
    token = _deadline.set(now + seconds if outer is None else min(outer, now + seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


def scontrol(words: Sequence[str]) -> tuple[int, str]:
    """Call scontrol and return (exit code, what it wrote to stderr).

    Raises:
        Unreachable: the controller does not answer.
        RunError: scontrol is missing.
    """
    try:
        code, _, error = call_command(["scontrol", *words])
    except FileNotFoundError:
        raise RunError("missing: scontrol; fix: run this on the cluster's login node") from None
    if code and SILENT.search(error):
        raise Unreachable(f"scontrol: {' '.join(error.split())[:200]}")
    return code, error


def run_command(command: list[str]) -> str | None:
    """Return a command's output; None where it is missing or fails.

    Raises:
        Unreachable: it did not answer within TIMEOUT_S, or reports that the controller does not.
    """
    try:
        rc, out, err = call_command(command)
    except FileNotFoundError:
        return None
    if rc == 0:
        return out
    if "Invalid job id" in err:  # squeue, for a single job that has left the queue
        return ""
    if SILENT.search(err):
        raise Unreachable(f"{command[0]}: {' '.join(err.split())[:200]}")
    return None


def call_command(command: list[str]) -> tuple[int, str, str]:
    """Return a command's (exit code, output, errors).

    Raises:
        Unreachable: no answer in time.
        FileNotFoundError: it is missing, or may not be executed.
    """
    # A user's own formats and filters must not change what is read here.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SACCT_"))}
    environment |= {"LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}
    deadline = _deadline.get()
    timeout_s = TIMEOUT_S if deadline is None else min(TIMEOUT_S, (deadline - time.monotonic()) * 2 / 3)
    if timeout_s <= 0:
        raise Unreachable(f"{command[0]}: no time was left for it")
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=timeout_s, env=environment, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{command[0]}: no answer in {timeout_s:.0f} s") from None
    except PermissionError:
        raise FileNotFoundError(command[0]) from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
