"""SLURM gets few questions: one in 30 s, sooner where a run began or ended, and later about jobs that have ended."""

from __future__ import annotations

from collections.abc import Iterable

from sweeps.scheduler.queue import QueueAnswer
from sweeps.scheduler.slurm_output import JobFacts
from sweeps.watch.kept_queue import KeptQueue


class Slurm:
    """Answers what it is told, and counts."""

    def __init__(self, **states: str) -> None:
        self.states, self.silence, self.now = {k[1:]: state for k, state in states.items()}, "", 0.0
        self.questions: list[list[str]] = []
        self.kept = KeptQueue(self.answer, lambda: self.now)

    def answer(self, jobs: Iterable[str]) -> QueueAnswer:
        self.questions.append(sorted(jobs))
        known = {job: JobFacts(job, state=self.states[job]) for job in self.questions[-1] if job in self.states}
        return QueueAnswer({} if self.silence else known, self.silence)

    def read(self, at: float, *jobs: str) -> dict[str, str]:
        self.now = at
        return {job: facts.state for job, facts in self.kept.read(jobs).facts.items()}


def test_an_answer_lasts_half_a_minute() -> None:
    slurm = Slurm(_1="RUNNING", _2="PENDING")
    for at in range(0, 60, 5):
        assert slurm.read(at, "1", "2") == {"1": "RUNNING", "2": "PENDING"}
    assert slurm.questions == [["1", "2"], ["1", "2"]]


def test_new_jobs_are_asked_about_at_once_and_ended_ones_rarely() -> None:
    slurm = Slurm(_1="FAILED", _2="RUNNING")
    slurm.read(0, "1", "2")
    slurm.read(5, "1", "2", "3")
    slurm.read(31, "1", "2", "3")
    slurm.read(301, "1", "2", "3")
    assert slurm.questions == [["1", "2"], ["3"], ["2"], ["1", "2", "3"]]


def test_a_run_that_began_makes_the_next_question_earlier_never_more_often_than_in_10_s() -> None:
    slurm = Slurm(_1="PENDING")
    slurm.read(0, "1")
    slurm.states["1"] = "RUNNING"
    slurm.kept.expire()
    assert slurm.read(5, "1") == {"1": "PENDING"}
    assert slurm.read(10, "1") == {"1": "RUNNING"}
    assert slurm.read(39, "1") == {"1": "RUNNING"}
    assert len(slurm.questions) == 2


def test_without_an_answer_only_ends_are_known() -> None:
    slurm = Slurm(_1="RUNNING", _2="FAILED")
    slurm.read(0, "1", "2")
    slurm.silence = "timed out"
    assert slurm.read(31, "1", "2") == {"2": "FAILED"}
    assert slurm.kept.read(["1", "2"]).silence == "timed out"
    slurm.silence = ""
    assert slurm.read(62, "1", "2") == {"1": "RUNNING", "2": "FAILED"}
    assert slurm.kept.read(["1", "2"]).silence == ""


def test_a_job_that_slurm_forgot_is_forgotten() -> None:
    slurm = Slurm(_1="RUNNING")
    slurm.read(0, "1")
    del slurm.states["1"]
    assert slurm.read(31, "1") == {}
