"""Facts about one run of a sweep, and the conditions on them that the rules of its state use.

Facts come from the run folder first, then from SLURM where it answered. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from c2d.core.job_file import CANARY, Job, has_launcher_ended, launched_since, read_job
from c2d.core.run_folder import RunFolder
from c2d.core.run_state import Liveness, liveness, time_stamp
from sweeps.scheduler.queue import JobFacts

FILE_DELAY_S = 120.0
"""Time after the end of a job in which its files may not have arrived yet on a network file system."""
QUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "SUSPENDED", "RESIZING")
LIVE = ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "STOPPED")


@dataclass(frozen=True)
class RunFacts:
    """Facts about a run that has a folder.

    Attributes:
        status: status.json; state `waiting` where there is none.
        job: job.json; None when it was never launched.
        slurm: its job in the queue or the accounting; None when SLURM does not know it or gave no answer.
        queue_answered: whether SLURM has answered.
        now: seconds since the epoch.
        jobs: what SLURM reports of other runs' jobs, by job id.
    """

    run: RunFolder
    status: Mapping[str, Any]
    job: Job | None
    slurm: JobFacts | None
    queue_answered: bool
    now: float
    jobs: Mapping[str, JobFacts] = field(default_factory=dict)

    @property
    def liveness(self) -> Liveness:
        """Whether the process of a status `running` is alive."""
        return liveness(self.status, self.now)

    @property
    def failed_canary(self) -> str:
        """Id of the canary that the run waited for and that failed, or ""."""
        for need in self.job.depends if self.job is not None else ():
            run = RunFolder(self.run.path.parent / need.removesuffix(CANARY))
            if need.endswith(CANARY) and (run.try_read_status()["state"] == "failed" or self._has_failed(run)):
                return run.id
        return ""

    def _has_failed(self, run: RunFolder) -> bool:
        canary = read_job(run, canary=True)
        facts = self.jobs.get(canary.job or "") if canary is not None else None
        return facts is not None and has_failed_job(facts)


def has_failed_job(facts: JobFacts) -> bool:
    """Return whether a job has ended, and not as COMPLETED."""
    return facts.state not in (*LIVE, *QUEUED, "COMPLETED")


def is_just_completed_job(fact: JobFacts | None, now: float) -> bool:
    """Return whether SLURM completed a job within the last FILE_DELAY_S, or gives no time when it did."""
    if fact is None or fact.state != "COMPLETED":
        return False
    with suppress(ValueError, OverflowError):
        # SLURM prints local time without a zone, and `timestamp` takes such a time as local.
        return now - datetime.fromisoformat(fact.started).timestamp() - (fact.elapsed_s or 0.0) <= FILE_DELAY_S
    return True


# Conditions: what the run folder shows


def is_done(facts: RunFacts) -> bool:
    """The run has ended well and its result exists."""
    return facts.status["state"] == "done" and facts.run.result.is_file()


def has_status_running(facts: RunFacts) -> bool:
    """status.json has the state `running`."""
    return facts.status["state"] == "running"


def has_status_failed(facts: RunFacts) -> bool:
    """The run recorded its failure itself."""
    return facts.status["state"] == "failed"


def has_no_spec(facts: RunFacts) -> bool:
    """Its run folder has no spec.json: it was deleted, and a process wrote its end into a new one."""
    return not facts.run.spec.exists()


def has_attempt(facts: RunFacts) -> bool:
    """At least one attempt began."""
    return bool(facts.status.get("attempt"))


def is_dead(facts: RunFacts) -> bool:
    """Its process ran on this host and has ended."""
    return facts.liveness.state == "dead"


def is_stale(facts: RunFacts) -> bool:
    """Its heartbeat is old."""
    return facts.liveness.state == "stale"


def is_gone(facts: RunFacts) -> bool:
    """Its process has ended, or its heartbeat is old: SLURM may have requeued its job."""
    return is_dead(facts) or is_stale(facts)


# Conditions: what its last launch shows


def is_unlaunched(facts: RunFacts) -> bool:
    """No launcher started it; `c2d train` may have."""
    return facts.job is None


def is_cancelled(facts: RunFacts) -> bool:
    """`c2d sweep cancel` cancelled it."""
    return facts.job is not None and facts.job.state == "cancelled"


def is_submitting(facts: RunFacts) -> bool:
    """A launcher has not yet recorded the job's number."""
    return facts.job is not None and facts.job.state == "submitting"


def is_local(facts: RunFacts) -> bool:
    """It was launched on one machine, without SLURM."""
    return facts.job is not None and facts.job.where == "local"


def is_in_slurm(facts: RunFacts) -> bool:
    """It was submitted to SLURM."""
    return facts.job is not None and facts.job.where == "slurm" and facts.job.job is not None


def has_no_launcher(facts: RunFacts) -> bool:
    """No launcher exists that could continue it; a job of SLURM is its own launcher."""
    return facts.job is None or (is_local(facts) and has_launcher_ended(facts.job, facts.now))


def is_not_relaunched(facts: RunFacts) -> bool:
    """No launch is younger than status.json."""
    return not launched_since(facts.status, facts.job)


def is_just_submitted(facts: RunFacts) -> bool:
    """The job may not be in the queue's list yet."""
    submitted = time_stamp(facts.job.submitted) if facts.job is not None else None
    return abs(facts.now - (submitted or 0.0)) < FILE_DELAY_S


def has_failed_canary(facts: RunFacts) -> bool:
    """The canary that it waited for failed."""
    return bool(facts.failed_canary)


# Conditions: what SLURM shows


def is_queued(facts: RunFacts) -> bool:
    """Its job waits in the queue."""
    return facts.slurm is not None and facts.slurm.state in QUEUED


def is_live(facts: RunFacts) -> bool:
    """Its job runs, or is about to end."""
    return facts.slurm is not None and facts.slurm.state in LIVE


def is_not_live(facts: RunFacts) -> bool:
    """Its job does not run, or SLURM does not know it."""
    return not is_live(facts)


def is_unknown_to_slurm(facts: RunFacts) -> bool:
    """Its job is neither in the queue nor in the accounting."""
    return facts.slurm is None


def has_no_queue(facts: RunFacts) -> bool:
    """SLURM did not answer, or there is none here."""
    return facts.slurm is None and not facts.queue_answered


def has_ended(facts: RunFacts) -> bool:
    """By SLURM, or by the status where SLURM does not know the job."""
    return not has_status_running(facts) if facts.slurm is None else facts.slurm.state not in (*LIVE, *QUEUED)


def has_ended_badly(facts: RunFacts) -> bool:
    """Its job ended, and not as COMPLETED."""
    return facts.slurm is not None and has_failed_job(facts.slurm)


def is_just_completed(facts: RunFacts) -> bool:
    """Its job completed a moment ago; its files may be late."""
    return is_just_completed_job(facts.slurm, facts.now)


def is_cancelled_by_dependency(facts: RunFacts) -> bool:
    """SLURM removed its job because a job that it waited for failed; a person's cancel has a UID in the accounting."""
    if facts.slurm is None or facts.slurm.state != "CANCELLED":
        return False
    waited = facts.job is not None and bool(facts.job.depends)
    return facts.slurm.reason.startswith("Dependency") or (waited and facts.slurm.cancelled_by == "")


def always(facts: RunFacts) -> bool:
    """Fits every run; for the last rule of the table."""
    return True
