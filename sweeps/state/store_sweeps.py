"""Every sweep of a store with its counts by state, as `c2d sweep list` shows them. Nothing is written.

Each run folder is read once, also where several sweeps share a run, and SLURM gets one query for all of them. Failures
are counted here, not diagnosed: `c2d sweep triage` reads logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from c2d.core.job_file import Job
from c2d.core.printable import printable_line
from c2d.core.regular_file import Problem
from c2d.core.run_state import time_stamp
from c2d.core.store_folder import RunStore
from c2d.core.sweep_manifest import PlannedRun, planned_runs, read_manifest, sweep_names
from sweeps.scheduler import queue, slurm_command
from sweeps.scheduler.queue import JobFacts
from sweeps.state.run_facts import RunFacts
from sweeps.state.run_files import RunFiles, deciding_canary, is_damaged, read_store_files
from sweeps.state.state_rules import STATES, State, state_of


@dataclass(frozen=True)
class SweepCounts:
    """One sweep of a store.

    Attributes:
        counts: {state: number of its runs}, in the order of STATES.
        changed: newest change of its manifest, its launches and its runs, seconds since the epoch; 0 if unknown.
        problem: why its manifest cannot be used, or "". Then nothing else is known.
    """

    name: str
    question: str = ""
    counts: dict[State, int] = field(default_factory=dict)
    changed: float = 0.0
    problem: str = ""

    @property
    def runs(self) -> int:
        """Number of its runs."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """Return what `c2d sweep list --json` prints of the sweep; times are UTC."""
        at = datetime.fromtimestamp(self.changed, UTC).isoformat(timespec="seconds") if self.changed else None
        return {
            "name": self.name, "question": self.question, "runs": self.runs, "counts": self.counts, "changed": at,
            "problem": self.problem or None,
        }  # fmt: skip


def list_sweeps(runs: Path, now: float) -> tuple[list[SweepCounts], bool]:
    """Return every sweep of a store, the one that changed last first, and whether SLURM left a question unanswered.

    Args:
        runs: the store.
        now: seconds since the epoch.
    """
    manifests = {name: read_manifest(runs, name) for name in sweep_names(runs)}
    planned = {
        name: [entry for entry in planned_runs(manifest) if entry.kind != "orphan"]
        for name, manifest in manifests.items()
        if not isinstance(manifest, Problem)
    }
    files = read_store_files(dict.fromkeys(entry.run for entries in planned.values() for entry in entries), runs)
    jobs = [job for one in files.values() for job in one.unfinished_jobs]
    facts: dict[str, JobFacts] = {}
    answered = False
    if jobs and slurm_command.available():
        with suppress(slurm_command.Unreachable):
            facts, answered = queue.look_up(jobs), True
    own = {
        run: _state(one, RunFacts(one.run, one.status, launch, _fact(launch, facts), answered, now, facts))
        for run, one in files.items()
        for launch in [deciding_canary(one, facts) or one.job]
    }
    found = []
    for name, manifest in manifests.items():
        changed = _changed(RunStore(runs).manifest(name))
        if isinstance(manifest, Problem):
            found.append(SweepCounts(name, changed=changed, problem=printable_line(manifest.message)))
            continue
        here = [files[entry.run] for entry in planned[name] if entry.run in files]
        newest = max([changed, *(_newest(one) for one in here)])
        question = printable_line(str(manifest.get("question", "")))
        found.append(SweepCounts(name, question, _counts(planned[name], own), min(newest, now)))
    return sorted(found, key=lambda sweep: (-sweep.changed, sweep.name)), bool(jobs) and not answered


def _state(files: RunFiles, facts: RunFacts) -> State:
    return "damaged" if is_damaged(files, facts) else state_of(facts)


def _fact(job: Job | None, facts: Mapping[str, JobFacts]) -> JobFacts | None:
    return facts.get(job.job) if job is not None and job.job is not None else None


def _newest(one: RunFiles) -> float:
    submitted = time_stamp(one.job.submitted) if one.job is not None else None
    return max(time_stamp(one.status.get("heartbeat")) or 0.0, submitted or 0.0)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _counts(planned: list[PlannedRun], own: Mapping[str, State]) -> dict[State, int]:
    """Return {state: number of runs}; a run is blocked where a teacher of it failed or is blocked."""
    states: dict[str, State] = {}
    for entry in planned:  # teachers come before the runs that need them
        state = own.get(entry.run, "new")
        stopped = any(states.get(need) in ("failed", "blocked", "damaged") for need in entry.needs)
        states[entry.run] = "blocked" if stopped and state not in ("done", "running", "damaged") else state
    every = list(states.values())
    return {state: every.count(state) for state in STATES if state in every}
