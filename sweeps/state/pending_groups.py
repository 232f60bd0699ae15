"""The runs whose jobs wait for something that a person can change, by SLURM's reason, with the commands to type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.scheduler.pending_reasons import find_pending_reason
from sweeps.scheduler.queue import JobFacts
from sweeps.scheduler.slurm_output import join_jobs
from sweeps.state.plan import Row
from sweeps.state.run_facts import QUEUED


@dataclass(frozen=True)
class PendingGroup:
    """Waiting runs with one reason in one partition, QOS and account.

    Attributes:
        reason: as squeue prints it.
        meaning: one phrase.
        commands: what to type, in this order.
        starts_itself: they start later without any of the commands.
        runs: their ids.
    """

    reason: str
    meaning: str
    commands: list[str]
    starts_itself: bool
    runs: list[str]

    def text(self) -> str:
        """Return the number of runs, the reason, its meaning, and one command a line."""
        count = len(self.runs)
        many = f"{count} runs wait" if count > 1 else f"{self.runs[0]} waits"
        end = "" if self.starts_itself else (" and do not start" if count > 1 else " and does not start")
        lines = [f"{many}{end} ({self.reason}): {self.meaning}; {'to start now' if self.starts_itself else 'fix'}:"]
        return "\n".join([*lines, *(f"    {command}" for command in self.commands)])

    def to_json(self) -> dict[str, Any]:
        """Return what `status --json` and `triage --json` print of the group."""
        return {
            "reason": self.reason,
            "meaning": self.meaning,
            "commands": self.commands,
            "starts_itself": self.starts_itself,
            "runs": self.runs,
            "text": self.text(),
        }


def group_pending(rows: Iterable[Row], facts: Mapping[str, JobFacts], sweep: str) -> list[PendingGroup]:
    """Return the groups for which a command exists: first those that do not start by themselves.

    Args:
        facts: what SLURM reports, by job id.
        sweep: name of the sweep, for its commands.
    """
    found: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        fact = facts.get(_job_id(row))
        if fact is not None and fact.state in QUEUED and row.state == "waiting":
            found.setdefault((fact.reason, fact.partition, fact.qos, fact.account), []).append(row)
    groups = []
    for (reason, partition, qos, account), members in found.items():
        kind = find_pending_reason(reason)
        jobs = join_jobs(map(_job_id, members))
        values = {"jobs": jobs, "partition": partition, "qos": qos, "account": account, "sweep": sweep}
        if commands := kind.filled_commands(values):
            ids = [row.run.id for row in members]
            groups.append(PendingGroup(reason, kind.filled_meaning(values), commands, kind.starts_itself, ids))
    return sorted(groups, key=lambda group: group.starts_itself)


def _job_id(row: Row) -> str:
    """Return the number of the job that the row waits for, which may be its canary's; "" without one."""
    job = row.deciding_job
    return (job.job or "") if job is not None else ""
