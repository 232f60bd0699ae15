"""Change jobs that wait in the queue with scontrol: hold, release, nice, the throttle of an array.

Tasks of one array are one argument, `123_[1,4-7]`. scontrol reports what it refuses by job, and changes the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sweeps.scheduler import queue, slurm_command
from sweeps.scheduler.slurm_output import JOB, expand, join_jobs

WAITING_FORMAT = "%i|%Q|%y|%r"


@dataclass(frozen=True)
class WaitingJob:
    """A pending job, or a pending task of an array.

    Attributes:
        held: it does not start before it is released.
        nice: what is subtracted from its priority.
    """

    job: str
    held: bool
    nice: int


def read_waiting(jobs: Iterable[str]) -> dict[str, WaitingJob]:
    """Return those of the jobs that are pending, by one squeue call for at most 200 arrays.

    Raises:
        slurm_command.Unreachable: the controller does not answer.
    """
    wanted = {job for job in jobs if JOB.fullmatch(job)}
    found = {}
    for line in queue.list_pending(wanted, WAITING_FORMAT):
        cells = line.strip().split("|", 3)
        if len(cells) == 4 and cells[0] in wanted:
            job, priority, nice, reason = cells
            # Where a job waits for several things, squeue names one of them; a held job has priority 0.
            held = priority == "0" or re.search("held", reason, re.IGNORECASE) is not None
            found[job] = WaitingJob(job, held, int(nice) if re.fullmatch("-?[0-9]{1,10}", nice) else 0)
    return found


def hold(jobs: Iterable[str]) -> dict[str, str]:
    """Hold jobs so that their owner can release them; return {job: why SLURM refused it}."""
    # `hold` of an operator is a hold of an administrator, which the owner of the job cannot end.
    return _change(jobs, lambda ids: ["uhold", ids])


def release(jobs: Iterable[str]) -> dict[str, str]:
    """Release held jobs; return {job: why SLURM refused it}."""
    return _change(jobs, lambda ids: ["release", ids])


def set_nice(jobs: Iterable[str], nice: int) -> dict[str, str]:
    """Set the nice value of jobs that are not held (SLURM 22.05 starts a held one); return {job: why SLURM refused it}.

    Args:
        nice: subtracted from the priority; only operators may give one below 0.
    """
    return _change(jobs, lambda ids: ["update", f"JobId={ids}", f"Nice={nice}"])


def set_throttle(array: str, throttle: int) -> str:
    """Set how many tasks of an array may run at once; return "" or why SLURM refused it.

    Args:
        array: its number.
        throttle: 1 or more; SLURM takes 0 as "no limit".
    """
    return _change([array], lambda ids: ["update", f"JobId={ids}", f"ArrayTaskThrottle={throttle}"]).get(array, "")


def _change(jobs: Iterable[str], words_of: Callable[[str], Sequence[str]]) -> dict[str, str]:
    """Call scontrol once for each array, and once for each plain job.

    Raises:
        slurm_command.Unreachable: the controller does not answer; earlier arrays are changed.
    """
    by_array: dict[str, list[str]] = {}
    for job in sorted(set(jobs)):
        by_array.setdefault(job.split("_")[0], []).append(job)
    refused: dict[str, str] = {}
    for own in by_array.values():
        code, error = slurm_command.scontrol(words_of(join_jobs(own)))
        if code:
            refused |= _reasons(error, own)
    return refused


def _reasons(error: str, jobs: list[str]) -> dict[str, str]:
    """Return {job: reason} of what scontrol printed: a line for each part, or one for all of them."""
    found: dict[str, str] = {}
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    for line in lines:
        job, _, reason = line.partition(": ")
        named = re.fullmatch(r"([0-9]+)_([0-9,-]+)", job)
        if named and reason:
            found.update(dict.fromkeys(expand(f"{named[1]}_[{named[2]}]", jobs), reason))
    if not found:
        text = lines[0] if lines else "scontrol gave no reason"
        return dict.fromkeys(jobs, re.sub(r" for job \S+$", "", text))
    return {job: reason for job, reason in found.items() if reason != "No error"}
