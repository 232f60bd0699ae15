"""The files that hold the output of a run: of its job, by rank, and the log of its training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from c2d.core.regular_file import is_file
from c2d.core.run_folder import RunFolder

if TYPE_CHECKING:
    from c2d.core.job_file import Job


def job_logs(folder: Path, job: str) -> dict[int, list[Path]]:
    """Return {rank: files} of a SLURM job, of all its starts: SLURM appends after a requeue.

    Args:
        folder: of the submission.
        job: "123_4" or "123".
    """
    logs: dict[int, list[Path]] = {}
    # out first: where a cluster separates them, err is more useful, so it comes last.
    for path in sorted(folder.glob(f"{job}_*_log.*"), key=lambda path: path.suffix, reverse=True):
        named = re.fullmatch(rf"{re.escape(job)}_(\d{{1,6}})_log\.(out|err)", path.name)
        if named and is_file(path):  # a named pipe would block its reader
            logs.setdefault(int(named[1]), []).append(path)
    return dict(sorted(logs.items()))


def local_log(folder: Path, run_id: str) -> Path:
    """Return the file of what the process of a local run prints: errors and tracebacks of all its starts."""
    return folder / f"{run_id}.out"


def main_log(run: RunFolder, job: Job | None) -> Path | None:
    """Return the log to read first: of rank 0 of the last launch, else of the training; None where neither exists."""
    return next((path for path in _candidates(run, job) if is_file(path)), None)


def _candidates(run: RunFolder, job: Job | None) -> Iterator[Path]:
    if job is not None and job.folder:
        folder = Path(job.folder)
        # No listing of the folder: it may hold thousands of files, and `status` asks for every run.
        yield local_log(folder, run.id) if job.job is None else folder / f"{job.job}_0_log.out"
    yield run.log
