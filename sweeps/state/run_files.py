"""The files of one run that decide its state, and those of them that cannot be used. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.job_file import Job, load_job
from c2d.core.regular_file import Problem, file_state
from c2d.core.run_folder import RunFolder
from sweeps.state.run_facts import RunFacts, is_live, is_queued


@dataclass(frozen=True)
class RunFiles:
    """What the folder of one run says.

    Attributes:
        status: status.json; state `waiting` where it is missing or damaged.
        job: job.json; None where it is missing or damaged.
        problems: files that cannot be used.
    """

    run: RunFolder
    status: dict[str, Any]
    job: Job | None
    problems: tuple[Problem, ...] = ()


def read_run_files(run: RunFolder) -> RunFiles:
    """Read the files of a run that has an entry in the store."""
    status, job = run.load_status(), load_job(run)
    problems = [found for found in (status, job) if isinstance(found, Problem)]
    if isinstance(status, Problem):
        status = {"state": "waiting", "attempt": 0}
    problems += _problem_of(run.result if status["state"] == "done" else run.attempts)
    return RunFiles(run, status, None if isinstance(job, Problem) else job, tuple(problems))


def is_damaged(files: RunFiles, facts: RunFacts) -> bool:
    """Return whether the state of a run is unknown because of its files.

    The numbers of a run that is done need no job.json. A job in the queue, or that runs, writes status.json again.
    """
    if files.status["state"] == "done":
        return any(problem.path != files.run.job for problem in files.problems)
    return bool(files.problems) and not (is_queued(facts) or is_live(facts))


def no_folder(run: RunFolder) -> Problem:
    """Return the problem of a run whose name in the store is not that of a folder."""
    return Problem(run.path, "is not a folder; remove it, then submit the sweep again")


def _problem_of(path: Path) -> list[Problem]:
    """Return the problem of a file that is no regular file, or empty; [] where it is missing."""
    state = file_state(path)
    if isinstance(state, Problem):
        return [state]
    return [Problem(path, "is empty; remove it")] if state is not None and state[0] == 0 else []
