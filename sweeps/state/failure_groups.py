"""The failed runs of a sweep by failure class, as `c2d sweep triage` shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from c2d.core.failure_classes import FAILURE_CLASSES
from sweeps.failures.diagnose import Diagnosis, diagnose
from sweeps.failures.evidence import gather_evidence
from sweeps.failures.log_paths import main_log
from sweeps.scheduler.queue import JobFacts
from sweeps.state.plan import Row


@dataclass(frozen=True)
class FailureGroup:
    """All failed runs of one class with their diagnoses."""

    failure_class: str
    cases: list[tuple[Row, Diagnosis]]
    suggestion: str

    def text(self) -> str:
        """Return a heading, the suggestion, and one of equal failures: their number, run, rank, last lines and log."""
        count = len(self.cases)
        blocks = [f"{self.failure_class}: {count} run{'s' if count > 1 else ''}", self.suggestion]
        alike: dict[str, list[tuple[Row, Diagnosis]]] = {}
        for row, found in self.cases:
            last_line = found.lines[-1] if found.lines else ""
            # Failures are equal if their last lines differ in numbers only (addresses, ranks, iterations).
            alike.setdefault(re.sub(r"0x[0-9a-f]+|\d+", "#", last_line), []).append((row, found))
        for cases in sorted(alike.values(), key=len, reverse=True):
            row, found = cases[0]
            more = f" and {len(cases) - 1} like it" if len(cases) > 1 else ""
            where = f" (rank {found.rank})" if found.rank is not None else ""
            blocks.append(f"  {row.run.id}{where}{more}")
            blocks += [f"    {line}" for line in found.lines]
            if (log := main_log(row.run, row.deciding_job)) is not None:
                blocks.append(f"    log: {log}")
        return "\n".join(blocks)

    def to_json(self) -> dict[str, Any]:
        """Return what `c2d sweep triage --json` prints of the class."""
        return {
            "class": self.failure_class,
            "count": len(self.cases),
            "suggestion": self.suggestion,
            "runs": [_case_json(row, found) for row, found in self.cases],
        }


def _case_json(row: Row, found: Diagnosis) -> dict[str, Any]:
    log = main_log(row.run, row.deciding_job)
    return {"run": row.run.id, "rank": found.rank, "lines": found.lines, "log": None if log is None else str(log)}


def group_failures(rows: Iterable[Row], jobs: Mapping[str, JobFacts] | None = None) -> list[FailureGroup]:
    """Diagnose the failed rows and group them by class, in the order of FAILURE_CLASSES.

    Args:
        jobs: what SLURM reports, by job id (`sweeps.scheduler.queue.look_up`).
    """
    cases: dict[str, list[tuple[Row, Diagnosis]]] = {}
    for row in rows:
        if row.state == "failed":
            job = row.deciding_job
            known = (jobs or {}).get(job.job) if job is not None and job.job is not None else None
            found = diagnose(gather_evidence(row.run, known, job=job))
            name = row.failure_class if row.failure_class in FAILURE_CLASSES else found.failure_class
            cases.setdefault(str(name), []).append((row, found))
    return [FailureGroup(name, cases[name], item.suggestion) for name, item in FAILURE_CLASSES.items() if name in cases]
