"""What a plan and its numbers read of a store and of SLURM, in one place, so that a repeated reading can keep answers.

`RunReader` reads everything each time; `sweeps.watch.kept_reader` keeps what has not changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from c2d.core.job_file import Job, read_attempts
from c2d.core.run_folder import RunFolder
from sweeps.failures.log_paths import main_log
from sweeps.scheduler import queue
from sweeps.scheduler.queue import QueueAnswer
from sweeps.state.curve_tail import CurveTail, read_curve_tail
from sweeps.state.lost_launches import deleted_runs, lost_launches
from sweeps.state.run_facts import RunFacts
from sweeps.state.run_files import RunFiles, read_store_files
from sweeps.state.state_rules import Decision, decide


class RunReader:
    """Reads the files of runs, and SLURM, at each call."""

    def files(self, ids: Iterable[str], runs: Path) -> dict[str, RunFiles]:
        """Return {run id: its files}, see `read_store_files`."""
        return read_store_files(ids, runs)

    def jobs(self, jobs: Iterable[str]) -> QueueAnswer:
        """Return what SLURM reports, see `sweeps.scheduler.queue.read_jobs`."""
        return queue.read_jobs(jobs)

    def lost(self, ids: Collection[str], files: Mapping[str, RunFiles], runs: Path) -> dict[str, Job]:
        """Return the launches of those of the runs whose folder was deleted, see `lost_launches`."""
        return lost_launches(deleted_runs(ids, files), runs)

    def decision(self, facts: RunFacts) -> Decision:
        """Return the state of a run, see `decide`."""
        return decide(facts)

    def attempts(self, run: RunFolder) -> list[dict[str, Any]]:
        """Return the lines of attempts.jsonl, see `read_attempts`."""
        return read_attempts(run)

    def log(self, run: RunFolder, job: Job | None) -> Path | None:
        """Return the log to read first, see `main_log`."""
        return main_log(run, job)

    def curve(self, run: RunFolder) -> CurveTail:
        """Return the end of metrics.jsonl, see `read_curve_tail`."""
        return read_curve_tail(run.metrics)
