"""SLURM's answers, kept for a view that refreshes every few seconds: the controller gets few questions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sweeps.scheduler import queue
from sweeps.scheduler.queue import QueueAnswer
from sweeps.scheduler.slurm_output import FINISHED, JobFacts

QUEUE_S = 30.0
"""Age from which on SLURM gets the question about a job again."""
LEAST_AGE_S = 10.0
"""The same where a file of a run shows that something happened: it began, or ended. Never more often."""
ENDED_S = 300.0
"""The same for a job that has ended: only a person's requeue changes it."""


class KeptQueue:
    """What SLURM reported of jobs, with the time of each answer.

    Args:
        read_jobs: asks SLURM; replaced in tests.
        clock: seconds that only increase; replaced in tests.

    Attributes:
        calls: number of questions to SLURM; one is a squeue call for 200 arrays, and a sacct call for ended jobs.
    """

    def __init__(
        self,
        read_jobs: Callable[[Iterable[str]], QueueAnswer] = queue.read_jobs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._clock = read_jobs, clock
        self._facts: dict[str, JobFacts] = {}
        self._asked_at: dict[str, float] = {}
        self._silence = ""
        self._is_expired = False
        self.calls = 0

    def expire(self) -> None:
        """Ask again at the next reading, unless the last answer is younger than LEAST_AGE_S."""
        self._is_expired = True

    def read(self, jobs: Iterable[str]) -> QueueAnswer:
        """Return what SLURM reports of jobs, at most QUEUE_S old; of one that it was never asked about, of now."""
        wanted, now = list(dict.fromkeys(jobs)), self._clock()
        due = [job for job in wanted if now - self._asked_at.get(job, -ENDED_S) >= self._limit_s(job)]
        if due:
            if self._is_expired or self._silence:  # one call for all
                due = wanted
            answer = self._read(due)
            self.calls += 1
            self._is_expired, self._silence = False, answer.silence
            for job in due:
                self._asked_at[job] = now
                if not answer.silence or job in answer.facts:
                    self._facts.pop(job, None)
            self._facts |= answer.facts
        if self._silence:  # an earlier answer about a waiting or running job may be over
            known = {job: self._facts[job] for job in wanted if job in self._facts}
            return QueueAnswer({job: f for job, f in known.items() if f.state in FINISHED}, self._silence)
        return QueueAnswer({job: self._facts[job] for job in wanted if job in self._facts})

    def _limit_s(self, job: str) -> float:
        if self._is_expired:
            return LEAST_AGE_S
        facts = self._facts.get(job)
        return ENDED_S if facts is not None and facts.state in FINISHED else QUEUE_S
