"""Cancel jobs of SLURM; which of them SLURM refused is known one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from c2d.core.errors import RunError
from sweeps.scheduler.queue import IDS_PER_CALL
from sweeps.scheduler.slurm_command import SILENT, Unreachable, call_command

_ENDED = "Invalid job id|already completing or completed"


class CancelRefused(RunError):
    """scancel was refused for some jobs; it was sent to all others.

    Attributes:
        jobs: {job: SLURM's reason}.
    """

    def __init__(self, jobs: dict[str, str]) -> None:
        first, reason = next(iter(jobs.items()))
        super().__init__(f"scancel refused {len(jobs)} jobs, first {first}: {reason}; check with squeue --me", "config")
        self.jobs = jobs


def cancel_jobs(jobs: Iterable[str]) -> None:
    """Cancel these jobs with scancel; a job that has ended is no error.

    Raises:
        Unreachable: the controller does not answer.
        CancelRefused: SLURM refused some of them, for instance because another user owns the jobs.
        RunError: scancel is missing, or failed without naming a job.
    """
    wanted = sorted(set(jobs))
    refused: dict[str, str] = {}
    for start in range(0, len(wanted), IDS_PER_CALL):
        try:
            rc, _, err = call_command(["scancel", *wanted[start : start + IDS_PER_CALL]])
        except FileNotFoundError:
            raise RunError("missing: scancel; fix: run this on the cluster's login node") from None
        if rc and SILENT.search(err):
            raise Unreachable(f"scancel: {' '.join(err.split())[:200]}")
        errors = [line for line in err.splitlines() if not re.search(_ENDED, line)]
        named = [found for line in errors if (found := re.search(r"on job id ([0-9_]+): (.*)", line))]
        refused |= {found[1]: found[2].strip() for found in named}
        if rc and not named and (errors or not err):
            raise RunError(f"scancel refused: {err.strip() or f'exit code {rc}'}; check with squeue --me", "config")
    if refused:
        raise CancelRefused(refused)
