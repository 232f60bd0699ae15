"""The files of one submission, `<runs>/sweeps/<sweep>/<job name>/`, and which submissions of a sweep are active.

folders.txt           one absolute run folder a line; line i is task i
array.json            number, throttle, size and dependency, written when SLURM has taken the array
submission.sh         the batch script
task_<i>.pkl          what task i calls; the job renames it to submitit's <job>_submitted.pkl when it starts
<job>_<rank>_log.out  output of each process, standard error included
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json, atomic_write_text, read_json
from c2d.core.store_folder import RunStore
from sweeps.scheduler import queue

FOLDERS = "folders.txt"
ARRAY = "array.json"
SCRIPT = "submission.sh"


def pickle_name(task: int | str) -> str:
    return f"task_{task}.pkl"


def job_id(number: str, task: int, count: int) -> str:
    """ "123_4" in an array; a submission of one task is a plain job, "123"."""
    return number if count == 1 else f"{number}_{task}"


def write_folders(folder: Path, runs: list[RunFolder]) -> None:
    atomic_write_text(folder / FOLDERS, "".join(f"{run.path}\n" for run in runs))


def read_folders(folder: Path) -> list[RunFolder]:
    """Run folders in array order; [] where the submission never came so far."""
    try:
        return [RunFolder(Path(line)) for line in (folder / FOLDERS).read_text().splitlines()]
    except OSError:
        return []


def write_array(folder: Path, **facts: Any) -> None:
    """Keys: name, job (number), tasks (count), throttle, dependency, submitted (UTC)."""
    atomic_write_json(folder / ARRAY, {"format": 1, **facts})


def read_array(folder: Path) -> dict[str, Any] | None:
    """array.json, or None: not submitted, or written by another version."""
    try:
        value = read_json(folder / ARRAY)
    except InputError:
        return None
    known = isinstance(value, dict) and value.get("format") == 1 and re.fullmatch(r"[0-9]+", str(value.get("job")))
    return value if known else None


def active(runs: Path, sweep: str) -> list[tuple[str, int]]:
    """(job number, tasks that may run at once) of the sweep's arrays that still wait or run; one call of squeue.

    Raises:
        sweeps.scheduler.queue.Unreachable: the controller does not answer.
    """
    folder = RunStore(runs).sweeps / sweep
    known = [read_array(one) for one in sorted(folder.iterdir()) if one.is_dir()] if folder.is_dir() else []
    throttles = {str(facts["job"]): int(facts.get("throttle") or 1) for facts in known if facts}
    left = queue.unfinished(throttles) if throttles else {}
    return [(job, min(throttle, left[job])) for job, throttle in throttles.items() if left.get(job)]
