"""Give slots that an array of the sweep no longer needs to its other arrays, when a job starts and when it ends.

`python -m sweeps.node.balance_arrays FOLDER [ended]` is run by the batch script on the node. FOLDER is that of
the submission; `ended` leaves out this job, which SLURM still lists as running. A job never fails because of it.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import SoftFileLock, Timeout

from c2d.core.run_folder import atomic_write_json
from sweeps.scheduler import change_jobs, queue, slurm_command
from sweeps.scheduler.array_file import ARRAY, read_array
from sweeps.scheduler.scontrol import own_job
from sweeps.scheduler.throttles import ArrayLoad, balanced_throttles

LOCK_FILE = ".balance.lock"
LOCK_WAIT_S = 20.0
LOCK_AGE_S = 120.0
"""Age at which the lock of a node that was lost is removed."""
CALLS_S = 60.0


@dataclass(frozen=True)
class SubmittedArray:
    """One array of the sweep with its folder and its array.json."""

    folder: Path
    facts: dict[str, Any]

    @property
    def job(self) -> str:
        """Its number."""
        return str(self.facts["job"])

    @property
    def follows(self) -> frozenset[str]:
        """Numbers of the arrays that have to end before it starts."""
        ended = re.findall(r"afterany:([0-9:]+)", str(self.facts.get("dependency") or ""))
        return frozenset(job for part in ended for job in part.split(":"))


def balance_arrays(folder: Path, ending: str = "") -> dict[str, int]:
    """Change the throttles of the arrays of a sweep; return {array: new throttle} of those that were changed.

    Args:
        folder: of one submission of the sweep; its array.json has the cap.
        ending: a job that does not count as running.

    Raises:
        slurm_command.Unreachable: the controller does not answer.
    """
    own = read_array(folder)
    cap = own.get("cap") if own is not None else None
    if not isinstance(cap, int):
        return {}
    changed: dict[str, int] = {}
    with _lock(folder.parent), slurm_command.time_limit(CALLS_S):
        # Lower ones first: SLURM may start tasks between two calls, and the second reading counts them.
        for is_raise in (False, True):
            arrays = {array.job: array for array in _submitted(folder.parent)}
            throttles = balanced_throttles(_loads(arrays.values(), ending), cap)
            for job, throttle in throttles.items():
                before = int(arrays[job].facts["throttle"])
                if (
                    int(arrays[job].facts.get("tasks") or 1) == 1
                    or throttle == before
                    or (throttle > before) != is_raise
                ):
                    continue
                if not change_jobs.set_throttle(job, throttle):
                    atomic_write_json(arrays[job].folder / ARRAY, {**arrays[job].facts, "throttle": throttle})
                    changed[job] = throttle
    return changed


def _submitted(sweep: Path) -> Iterator[SubmittedArray]:
    for folder in sorted(sweep.iterdir()):
        facts = read_array(folder) if folder.is_dir() else None
        if facts is not None:
            yield SubmittedArray(folder, facts)


def _loads(arrays: Iterable[SubmittedArray], ending: str) -> list[ArrayLoad]:
    """Return the loads of the arrays that are in the queue, by one squeue call."""
    listed = {array.job: array for array in arrays}
    found: dict[str, dict[str, int]] = {}
    for fact in queue.list_active(listed):
        is_blocked = fact.reason.startswith("Dependency") or "held" in fact.reason.lower()
        kind = "running" if fact.state != "PENDING" else "blocked" if is_blocked else "pending"
        if fact.job != ending and fact.state != "COMPLETING":
            counts = found.setdefault(fact.job.split("_")[0], dict.fromkeys(("running", "pending", "blocked"), 0))
            counts[kind] += 1
    return [ArrayLoad(job, **counts, follows=listed[job].follows) for job, counts in sorted(found.items())]


@contextmanager
def _lock(sweep: Path) -> Iterator[None]:
    path = sweep / LOCK_FILE
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > LOCK_AGE_S:
            path.unlink()
    with SoftFileLock(path, timeout=LOCK_WAIT_S):
        yield


def main(arguments: list[str]) -> int:
    """Balance the arrays of this job's sweep. Never raises: the training does not depend on it.

    Args:
        arguments: folder of the submission, and `ended` at the end of the job.
    """
    try:
        balance_arrays(Path(arguments[0]), own_job(os.environ) if "ended" in arguments[1:] else "")
    except Timeout:
        return 0  # another job does it
    except Exception as error:
        print(f"note: the slots of this sweep's arrays were not changed: {error}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
