"""The state of one run of a sweep, as a table: the first rule whose conditions all hold decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from c2d.core.run_state import time_stamp
from sweeps.failures.diagnose import diagnose
from sweeps.failures.evidence import gather_evidence
from sweeps.scheduler.queue import JobFacts
from sweeps.state.lost_launches import REWRITTEN
from sweeps.state.run_facts import (
    RunFacts,
    always,
    has_attempt,
    has_ended,
    has_ended_badly,
    has_failed_canary,
    has_no_launcher,
    has_no_queue,
    has_no_spec,
    has_status_failed,
    has_status_running,
    is_cancelled,
    is_cancelled_by_dependency,
    is_dead,
    is_done,
    is_gone,
    is_in_slurm,
    is_just_completed,
    is_just_submitted,
    is_live,
    is_local,
    is_not_live,
    is_not_relaunched,
    is_queued,
    is_stale,
    is_submitting,
    is_unknown_to_slurm,
    is_unlaunched,
)

State = Literal["new", "waiting", "running", "done", "failed", "blocked", "damaged"]
STATES: tuple[State, ...] = ("new", "waiting", "running", "done", "failed", "blocked", "damaged")
"""damaged: a file of the run cannot be used, so its state is unknown. Nothing is done with such a run (`plan`)."""


class Decision(NamedTuple):
    """State of a run with its reason.

    Attributes:
        launch: whether `submit` starts the run, or continues it.
        failure_class: of a failed run.
        is_last_known: SLURM did not answer, and the state is that of an earlier time.
    """

    state: State
    reason: str
    launch: bool = False
    failure_class: str | None = None
    is_last_known: bool = False


class Rule(NamedTuple):
    """One line of the table.

    Attributes:
        conditions: all of them must hold.
        state: then the run is in this state.
        reason: a text, or a function that returns it. None: the diagnosis of the failure.
        launch: whether `submit` starts the run, or continues it.
        is_last_known: SLURM did not answer, and the state is that of an earlier time.
    """

    conditions: tuple[Callable[[RunFacts], bool], ...]
    state: State
    reason: str | Callable[[RunFacts], str] | None
    launch: bool = False
    is_last_known: bool = False


def decide(facts: RunFacts) -> Decision:
    """Return the state of a run by the first rule that fits."""
    rule = _first_rule(facts)
    if rule.reason is None:
        return _diagnosed(facts)
    reason = rule.reason if isinstance(rule.reason, str) else rule.reason(facts)
    failure_class = "cancelled" if rule.state == "failed" else None
    return Decision(rule.state, reason, rule.launch, failure_class, rule.is_last_known)


def state_of(facts: RunFacts) -> State:
    """Return the state of a run alone: a failure is not diagnosed, so no log is read."""
    return _first_rule(facts).state


def _first_rule(facts: RunFacts) -> Rule:
    return next(rule for rule in RULES if all(holds(facts) for holds in rule.conditions))


def _finished(facts: RunFacts) -> str:
    return f"finished {facts.status.get('heartbeat', '')}".strip()


def _in_queue(facts: RunFacts) -> str:
    assert facts.slurm is not None
    requeued = f"requeued, continues at {_progress(facts)}; " if has_attempt(facts) else ""
    why = f" ({facts.slurm.reason})" if facts.slurm.reason not in ("", "None") else ""
    return f"{requeued}job {facts.slurm.job} {facts.slurm.state.lower()}{why}"


def _killed(facts: RunFacts) -> str:
    return f"killed, {_progress(facts)}; continues from its checkpoint"


def _running(facts: RunFacts) -> str:
    return ", ".join(part for part in (_progress(facts), facts.liveness.reason) if part)


def _starting(facts: RunFacts) -> str:
    assert facts.slurm is not None
    return f"job {facts.slurm.job} on {facts.slurm.node or 'a node'}, starting"


def _interrupted(facts: RunFacts) -> str:
    return f"{facts.status.get('reason') or 'interrupted'} ({_progress(facts)})"


def _launcher_ended(facts: RunFacts) -> str:
    return f"interrupted, {_progress(facts)}; its launcher has ended"


def _in_local_queue(facts: RunFacts) -> str:
    assert facts.job is not None
    return f"in the local queue of pid {facts.job.pid} on {facts.job.host}"


def _submitting(facts: RunFacts) -> str:
    assert facts.job is not None
    return f"being submitted as {facts.job.name} (pid {facts.job.pid} on {facts.job.host})"


def _last_known(facts: RunFacts) -> str:
    """Return what is unknown, since when, and the last known state: that of status.json, or of the submission."""
    assert facts.job is not None
    heartbeat, submitted = str(facts.status.get("heartbeat") or ""), facts.job.submitted
    if (time_stamp(heartbeat) or 0.0) >= (time_stamp(submitted) or 0.0):
        since, what = heartbeat, f"{facts.status['state']}, {_progress(facts)}"
    else:
        since, what = submitted, "submitted"
    return f"unknown since {since or 'its launch'}: SLURM does not answer; last known: {what}, job {facts.job.job}"


def _just_submitted(facts: RunFacts) -> str:
    assert facts.job is not None
    return f"submitted as job {facts.job.job}, not yet in the queue's list"


def _finishing(facts: RunFacts) -> str:
    assert facts.slurm is not None
    return f"finishing: job {facts.slurm.job} is complete, its files have not arrived yet"


def _behind_canary(facts: RunFacts) -> str:
    return f"blocked by the canary {facts.failed_canary}"


def _removed_by_slurm(facts: RunFacts) -> str:
    assert facts.job is not None
    waited = ", ".join(facts.job.depends) or "what it waited for"
    return f"removed from the queue by SLURM when {waited} failed; `retry` or `status --watch` submits it again"


def _progress(facts: RunFacts) -> str:
    status = facts.status
    if status.get("iterations"):
        return f"iteration {status.get('iteration', 0)} of {status['iterations']}"
    return str(status.get("stage") or "starting")


def _diagnosed(facts: RunFacts) -> Decision:
    found = diagnose(gather_evidence(facts.run, facts.slurm, job=facts.job))
    line = found.lines[-1] if found.lines else _job_end(facts.slurm)
    # The reason of a run that did not record its failure is that of an earlier stop.
    recorded = facts.status.get("reason") if has_status_failed(facts) else None
    reason = f"{found.failure_class}: {recorded or line}"
    return Decision("failed", reason, failure_class=found.failure_class)


def _job_end(fact: JobFacts | None) -> str:
    if fact is None:
        return "the job is no longer in the queue and left no record"
    return f"job {fact.job} ended as {fact.state}" + (f" with exit code {fact.exit_code}" if fact.exit_code else "")


RULES: tuple[Rule, ...] = (
    # Done and cancelled come first: SLURM may still list the job in another state.
    Rule((is_done,), "done", _finished),
    Rule((is_cancelled, has_ended), "failed", "cancelled"),
    # A job in the queue has not started: its status.json is of an earlier start.
    Rule((is_queued,), "waiting", _in_queue),
    # status.json is `running`: the process works, was killed, or hangs.
    Rule((has_status_running, has_ended_badly), "failed", None),
    Rule((has_status_running, is_gone, is_in_slurm, has_no_queue), "running", _last_known, is_last_known=True),
    Rule((has_status_running, is_dead, is_not_live, has_no_launcher), "waiting", _killed, launch=True),
    Rule((has_status_running, is_dead, is_not_live), "failed", None),
    Rule((has_status_running, is_stale, is_not_live), "failed", None),
    Rule((has_status_running,), "running", _running),
    Rule((is_live,), "running", _starting),
    Rule((has_status_failed, is_unlaunched, has_no_spec), "new", REWRITTEN, launch=True),
    Rule((has_status_failed, is_not_relaunched), "failed", None),
    # Not running, and no failure recorded: what launched the run last decides.
    Rule((is_unlaunched, has_attempt), "waiting", _interrupted, launch=True),
    Rule((is_unlaunched,), "new", "planned, never launched", launch=True),
    Rule((is_local, has_no_launcher, has_failed_canary), "blocked", _behind_canary),
    Rule((is_local, has_no_launcher, has_attempt), "waiting", _launcher_ended, launch=True),
    Rule((is_local, has_no_launcher), "new", "its launcher ended before its turn", launch=True),
    Rule((is_local,), "waiting", _in_local_queue),
    Rule((is_submitting,), "waiting", _submitting),
    Rule((has_no_queue,), "waiting", _last_known, is_last_known=True),
    Rule((is_unknown_to_slurm, is_just_submitted), "waiting", _just_submitted),
    Rule((is_unknown_to_slurm,), "failed", None),
    Rule((is_just_completed,), "waiting", _finishing),
    Rule((is_cancelled_by_dependency, has_failed_canary), "blocked", _behind_canary),
    Rule(
        (is_cancelled_by_dependency,),
        "waiting",
        _removed_by_slurm,
        launch=True,
    ),
    Rule((always,), "failed", None),
)
"""In this order; the first rule that fits decides. The last one always does."""
