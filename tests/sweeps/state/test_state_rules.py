"""Every rule of the table decides a run of its own."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from c2d.core.job_file import Job
from c2d.core.run_folder import RunFolder, atomic_write_json
from sweeps.scheduler.queue import JobFacts
from sweeps.state.run_facts import RunFacts
from sweeps.state.state_rules import RULES, decide

NOW = time.time()
HERE = socket.gethostname()
NO_PROCESS = 2**22 + 1


def job(state: str, **facts: Any) -> JobFacts:
    return JobFacts("7_0", state=state, **facts)


def stamp(ago_s: float) -> str:
    return datetime.fromtimestamp(NOW - ago_s, UTC).isoformat(timespec="seconds")


RUNNING = {"state": "running", "attempt": 1, "iteration": 3, "iterations": 9, "host": "node1", "heartbeat": stamp(0)}
DEAD = {**RUNNING, "host": HERE, "pid": NO_PROCESS}
STALE = {**RUNNING, "heartbeat": stamp(400)}
FAILED = {"state": "failed", "attempt": 1, "failure_class": "nan", "reason": "loss is nan", "heartbeat": stamp(0)}
STOPPED = {"state": "waiting", "attempt": 1, "iteration": 3, "iterations": 9, "heartbeat": stamp(500)}
NEW = {"state": "waiting", "attempt": 0}
SLURM = {"where": "slurm", "job": "7_0"}
LOCAL = {"where": "local", "host": HERE, "pid": NO_PROCESS}
DEPENDS = {"depends": ["canary#canary"]}
BY_DEPENDENCY = job("CANCELLED", reason="DependencyNeverSatisfied")

# status, job (None: never launched), SLURM's facts, whether a queue answered; state, beginning of the reason, launch
CASES: list[tuple[dict[str, Any], dict[str, Any] | None, JobFacts | None, bool, str, str, bool]] = [
    ({"state": "done", "heartbeat": "then"}, SLURM, job("FAILED"), True, "done", "finished then", False),
    (STOPPED, {**SLURM, "state": "cancelled"}, None, True, "failed", "cancelled", False),
    (STOPPED, SLURM, job("PENDING"), True, "waiting", "requeued, continues at iteration 3", False),
    (RUNNING, SLURM, job("NODE_FAIL"), True, "failed", "node-failure: ", False),
    (STALE, SLURM, None, False, "running", f"unknown since {stamp(400)}: SLURM does not answer; last known: ru", False),
    (DEAD, None, None, False, "waiting", "killed, iteration 3 of 9; continues", True),
    (DEAD, SLURM, None, True, "failed", "unknown: ", False),
    (STALE, SLURM, None, True, "failed", "unknown: ", False),
    (STALE, SLURM, job("RUNNING"), True, "running", "iteration 3 of 9, no heartbeat for 7 min", False),
    (STOPPED, SLURM, job("RUNNING", node="n4"), True, "running", "job 7_0 on n4, starting", False),
    (FAILED, None, None, False, "new", "its run folder was deleted; `submit` writes it again", True),
    (FAILED, SLURM, None, True, "failed", "nan: loss is nan", False),
    (STOPPED, None, None, False, "waiting", "interrupted (iteration 3 of 9)", True),
    (NEW, None, None, False, "new", "planned, never launched", True),
    (NEW, {**LOCAL, **DEPENDS}, None, False, "blocked", "blocked by the canary canary", False),
    (STOPPED, LOCAL, None, False, "waiting", "interrupted, iteration 3 of 9; its launcher has ended", True),
    (NEW, LOCAL, None, False, "new", "its launcher ended before its turn", True),
    (NEW, {**LOCAL, "host": "desk", "pid": 5}, None, False, "waiting", "in the local queue of pid 5 on desk", False),
    (NEW, {**SLURM, "state": "submitting", "job": None}, None, True, "waiting", "being submitted as name", False),
    (NEW, SLURM, None, False, "waiting", f"unknown since {stamp(450)}: SLURM does not answer; last known: sub", False),
    (NEW, {**SLURM, "submitted": stamp(5)}, None, True, "waiting", "submitted as job 7_0, not yet in", False),
    (NEW, SLURM, None, True, "failed", "unknown: the job is no longer in the queue and left no record", False),
    (NEW, SLURM, job("COMPLETED"), True, "waiting", "finishing: job 7_0 is complete", False),
    (NEW, {**SLURM, **DEPENDS}, BY_DEPENDENCY, True, "blocked", "blocked by the canary canary", False),
    (NEW, SLURM, BY_DEPENDENCY, True, "waiting", "removed from the queue by SLURM", True),
    (NEW, SLURM, job("TIMEOUT"), True, "failed", "time-limit: ", False),
]  # fmt: skip


def facts_of(runs: Path, case: tuple[Any, ...]) -> RunFacts:
    status, launch, slurm, queue_answered = case[:4]
    run, canary = RunFolder(runs / "net-icod-0123456789ab-s0"), RunFolder(runs / "canary")
    atomic_write_json(run.status, {"format": 1, **status})
    atomic_write_json(canary.status, {"format": 1, "state": "failed"})
    if status["state"] == "done":
        atomic_write_json(run.result, {})
    given = {"sweep": "s", "state": "submitted", "name": "name", "submitted": stamp(450), **(launch or {})}
    launched = None if launch is None else Job(**given)
    return RunFacts(run, status, launched, slurm, queue_answered, NOW)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_rule(tmp_path: Path, number: int) -> None:
    *_, state, reason, launch = case = CASES[number]
    facts = facts_of(tmp_path, case)
    fits = [index for index, rule in enumerate(RULES) if all(holds(facts) for holds in rule.conditions)]
    found = decide(facts)
    assert fits[0] == number
    assert (found.state, found.launch) == (state, launch)
    assert found.reason.startswith(reason)
    assert (found.failure_class is not None) == (state == "failed")


def test_every_rule_has_a_case() -> None:
    assert len(CASES) == len(RULES)
