"""Evidence about one failure: the files of the run, the facts of SLURM and the end of the logs.

Needs the standard library alone, as `diagnose` does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.json_values import SMALL_BYTES, read_json
from sweeps.failures import log_patterns

if TYPE_CHECKING:
    from c2d.core.job_file import Job
    from c2d.core.run_folder import RunFolder
    from sweeps.scheduler.queue import JobFacts


@dataclass(frozen=True)
class Evidence:
    """Evidence about one failure.

    Attributes:
        status: status.json.
        attempts: attempts.jsonl, oldest first.
        facts: what SLURM reports; None without a query, or for a job that is unknown to SLURM.
        exit_code: of the job's command, as the batch script saw it.
        log_tail: the last lines of all ranks; see `log_patterns`.
        ranks: the files <run>/ranks/*.json.
        since: seconds since the epoch; older records belong to an earlier attempt.
    """

    status: Mapping[str, Any] = field(default_factory=dict)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    facts: JobFacts | None = None
    exit_code: int | None = None
    log_tail: str = ""
    ranks: list[dict[str, Any]] = field(default_factory=list)
    since: float = 0.0

    def is_new(self, stamp: Any) -> bool:
        """Return False for a time before this attempt. Time stamps have whole seconds."""
        at = epoch(stamp)
        return at is None or at + 1 >= self.since


def gather_evidence(
    run: RunFolder, facts: JobFacts | None, exit_code: int | None = None, job: Job | None = None
) -> Evidence:
    """Read what a run folder and the folder of its submission hold about the newest attempt.

    Args:
        run: the run; missing and damaged files are ignored.
        facts: what SLURM reports, if anything.
        exit_code: of the job's command, if known.
        job: the launch; None: the last one of the whole run.
    """
    from c2d.core.job_file import read_attempts, read_job

    job = job or read_job(run)
    status = run.try_read_status()
    submitted = (epoch(job.submitted) if job is not None else None) or 0.0
    started = (epoch(facts.started, zone=None) if facts is not None else None) or 0.0
    if started > time.time():  # the accounting prints local time without a zone, and the cluster has another one
        started = 0.0
    since = max(submitted, started)
    ranks = [value for path in sorted(run.ranks.glob("*.json")) if (value := _json(path)) is not None]
    log = log_patterns.read_logs(run, job, max(since, epoch(status.get("begun")) or 0.0))
    return Evidence(status, read_attempts(run), facts, exit_code, log, ranks, since)


def _json(path: Path) -> dict[str, Any] | None:
    value = read_json(path, SMALL_BYTES)
    return value if isinstance(value, dict) else None


def epoch(stamp: Any, zone: tzinfo | None = UTC) -> float | None:
    """Return a number or an ISO time as seconds since the epoch; a time without a zone is in `zone` (None: local)."""
    try:
        if isinstance(stamp, int | float) and not isinstance(stamp, bool):
            return float(stamp)
        at = datetime.fromisoformat(str(stamp))
        return (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return None
