"""The files of runs that decide their states, and those of them that cannot be used. Nothing is written.

Every run folder is read once: the ids of the request to SLURM, and the state of the run, come from the same reading.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.core.job_file import Job, load_job, read_canary
from c2d.core.regular_file import Problem, file_state
from c2d.core.run_folder import RunFolder
from sweeps.scheduler.slurm_output import JobFacts
from sweeps.state.run_facts import RunFacts, is_live, is_queued


@dataclass(frozen=True)
class RunFiles:
    """What the folder of one run says.

    Attributes:
        status: status.json; state `waiting` where it is missing or damaged.
        job: job.json; None where it is missing or damaged.
        canary: canary.json, where the run waits for its canary, or that alone is submitted; None when the run is done.
        problems: files that cannot be used.
        is_folder: False where another file has the name of the run.
    """

    run: RunFolder
    status: dict[str, Any]
    job: Job | None
    canary: Job | None = None
    problems: tuple[Problem, ...] = ()
    is_folder: bool = True

    @property
    def unfinished_jobs(self) -> list[str]:
        """The ids of its jobs of SLURM; [] where the run is done."""
        if self.status["state"] == "done":
            return []
        return [launch.job for launch in (self.job, self.canary) if launch is not None and launch.job is not None]


def read_store_files(ids: Iterable[str], runs: Path) -> dict[str, RunFiles]:
    """Return {run id: its files} of those runs that have an entry in the store, in the order of `ids`.

    Args:
        ids: run ids.
        runs: the store.
    """
    # One listing of the store instead of one call for each run: the store may be on a network file system.
    folders: dict[str, bool] = {}
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(runs) as entries:
        for entry in entries:
            folders[entry.name] = False
            with suppress(OSError):  # a link to itself
                folders[entry.name] = entry.is_dir()
    found = {}
    for name in ids:
        if name in folders:
            run = RunFolder(runs / name)
            found[name] = read_run_files(run) if folders[name] else no_folder(run)
    return found


def read_run_files(run: RunFolder) -> RunFiles:
    """Read the files of a run whose folder exists."""
    status, job = run.load_status(), load_job(run)
    problems = [found for found in (status, job) if isinstance(found, Problem)]
    if isinstance(status, Problem):
        status = {"state": "waiting", "attempt": 0}
    problems += _problem_of(run.result if status["state"] == "done" else run.attempts)
    job = None if isinstance(job, Problem) else job
    canary = read_canary(run, job) if status["state"] != "done" else None
    return RunFiles(run, status, job, canary, tuple(problems))


def deciding_canary(files: RunFiles, facts: Mapping[str, JobFacts]) -> Job | None:
    """Return the launch of a run's canary while that waits, runs or has failed; the whole run waits for it then.

    Args:
        files: of the run.
        facts: what SLURM reports, by job id.
    """
    canary = files.canary
    if canary is None or canary.job is None:
        return canary if canary is not None and files.job is None else None
    known = facts.get(canary.job)
    return canary if known is not None and known.state != "COMPLETED" else None


def is_damaged(files: RunFiles, facts: RunFacts) -> bool:
    """Return whether the state of a run is unknown because of its files.

    The numbers of a run that is done need no job.json. A job in the queue, or that runs, writes status.json again.
    """
    if not files.is_folder:
        return True
    if files.status["state"] == "done":
        return any(problem.path != files.run.job for problem in files.problems)
    return bool(files.problems) and not (is_queued(facts) or is_live(facts))


def no_folder(run: RunFolder) -> RunFiles:
    """Return the files of a run of whose name there is something other than a folder."""
    problem = Problem(run.path, "is not a folder; remove it, then submit the sweep again")
    return RunFiles(run, {"state": "waiting", "attempt": 0}, None, problems=(problem,), is_folder=False)


def _problem_of(path: Path) -> list[Problem]:
    """Return the problem of a file that is no regular file, or empty; [] where it is missing."""
    state = file_state(path)
    if isinstance(state, Problem):
        return [state]
    return [Problem(path, "is empty; remove it")] if state is not None and state[0] == 0 else []
