"""One start of a job, as `scontrol show job` describes it on the node; and the requeue of the job.

SLURM calls a job that is being cancelled COMPLETING, and accepts a requeue of it. What is read here decides whether a
run comes back although a person has cancelled it.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

TRIES = 3
PAUSE_S = 3.0
CALL_S = 20.0


@dataclass(frozen=True)
class JobStart:
    """This start of the job. Empty where SLURM does not answer.

    SLURM calls a job COMPLETING when it was cancelled, when it was requeued and when it reached its limit; the other
    fields distinguish these.

    Attributes:
        restarts: counted by SLURM; one more than this start's own when SLURM is about to start the job again.
        run_s: seconds since this start began.
        limit_s: time limit in seconds.
        preempted: another job takes its place. It is RUNNING until the grace time is over, and has to requeue itself if
            it ends before.
        read_at: when SLURM answered, seconds since the epoch by this node's clock. The first rank, which writes
            status.json, runs on the same node.
    """

    job: str = ""
    state: str = ""
    node: str = ""
    restarts: int = 0
    run_s: float | None = None
    limit_s: float | None = None
    preempted: bool = False
    reason: str = ""
    read_at: float = field(default_factory=time.time, compare=False)

    @property
    def started(self) -> float:
        """When this start began, seconds since the epoch; 0 if unknown."""
        return 0.0 if self.run_s is None else self.read_at - self.run_s

    def without_next_start(self, restarts: int) -> JobStart:
        """Return a copy without `run_s` if SLURM has requeued the job: the time then counts for the next start.

        Args:
            restarts: earlier starts of this job.
        """
        requeued = self.restarts > restarts or self.state == "PENDING"
        return replace(self, run_s=None) if requeued else self

    @property
    def over_limit(self) -> bool:
        """True when the job has reached its time limit."""
        if self.reason == "TimeLimit":
            return True
        # SLURM reports whole seconds.
        return self.run_s is not None and self.limit_s is not None and self.run_s >= self.limit_s - 1


def parse_job_start(text: str) -> JobStart:
    """Parse the output of `scontrol show job`. A value that cannot be parsed is left out."""
    # The names have a limit: without it, a long word takes the square of its length.
    words = dict(re.findall(r"\b(\w{1,64})=(\S*)", text))
    restarts = words.get("Restarts", "")
    return JobStart(
        job=words.get("JobId", ""),
        state=words.get("JobState", ""),
        node=words.get("BatchHost", ""),
        reason=words.get("Reason", "").removesuffix("None"),
        preempted=words.get("StartTime", "") <= words.get("PreemptTime", "None") < "A",  # times, not None or Unknown
        restarts=int(restarts) if re.fullmatch(r"[0-9]{1,9}", restarts) else 0,
        run_s=_seconds(words.get("RunTime", "")),
        limit_s=_seconds(words.get("TimeLimit", "")),
    )


def read_job_start(job: str) -> JobStart:
    """Read this job from SLURM now. Repeats the call up to TRIES times, because the controller may be busy."""
    for attempt in range(TRIES if job else 0):
        time.sleep(PAUSE_S * attempt)
        code, out = _call(["scontrol", "show", "job", job])
        if code == 0:
            return replace(parse_job_start(out), job=job)
    return JobStart(job=job)


def requeue(job: str) -> str:
    """Run `scontrol requeue`, up to TRIES times; return "" or the last error of SLURM."""
    error = "no job"
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE_S * attempt)
        code, error = _call(["scontrol", "requeue", job])
        if code == 0:
            return ""
    return (error.strip() or "scontrol gave no reason").splitlines()[-1][:200]


def own_job(environment: Mapping[str, str]) -> str:
    """Return this job's id: "12_3" in an array, else "12".

    The last task of an array has the array's own number as its SLURM_JOB_ID, which scontrol takes for all tasks.
    """
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID", "")


def _seconds(text: str) -> float | None:
    """Parse `1-02:03:04` or `00:10:00` into seconds; None for UNLIMITED and the like."""
    match = re.fullmatch(r"(?:([0-9]{1,6})-)?([0-9]{1,9}):([0-9]{1,4}):([0-9]{1,4})", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _call(words: list[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=CALL_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr
