"""Files of one submission, in `<runs>/sweeps/<sweep>/<job name>/`, and the active arrays of a sweep.

folders.txt           one absolute run folder a line; line i is task i
names.txt             name and comment of each task, for squeue; line i is task i
array.json            number, throttle, size and dependency, written after SLURM has accepted the array
submission.sh         the batch script
verify_snapshot.py    checks the submitted code before it runs
task_<i>.pkl          what task i calls; the job renames it to submitit's <job>_submitted.pkl when it starts
<job>_<rank>_log.out  output of each process, with stderr
"""

from __future__ import annotations

import os
from pathlib import Path

from c2d.core.json_values import MAX_BYTES
from c2d.core.regular_file import read_bytes
from c2d.core.run_folder import RunFolder, atomic_write_text
from c2d.core.store_folder import RunStore, is_run_id
from sweeps.scheduler import queue
from sweeps.scheduler.array_file import read_array

FOLDERS = "folders.txt"
SCRIPT = "submission.sh"
NAMES = "names.txt"
VERIFY = "verify_snapshot.py"


def pickle_name(task: int | str) -> str:
    """Return the file name of a task's pickle, before its job starts.

    Args:
        task: index in the array, or shell code for it.
    """
    return f"task_{task}.pkl"


def job_id(number: str, task: int, count: int) -> str:
    """Return "123_4" for a task of an array, "123" for a plain job.

    Args:
        number: of the array.
        task: index in the array.
        count: tasks of the array; 1: a plain job.
    """
    return number if count == 1 else f"{number}_{task}"


def write_folders(folder: Path, runs: list[RunFolder]) -> None:
    """Write folders.txt, in array order."""
    atomic_write_text(folder / FOLDERS, "".join(f"{run.path}\n" for run in runs))


def read_folders(folder: Path) -> list[RunFolder]:
    """Return the run folders in array order; [] where folders.txt was never written, or is damaged."""
    try:
        lines = read_bytes(folder / FOLDERS, most=MAX_BYTES).decode().split("\n")[:-1]
    except (OSError, ValueError):  # a FormatError is a ValueError
        return []
    # As written by `write_folders`: absolute paths of run folders. Anything else would be taken for another task.
    is_right = all(os.path.isabs(line) and is_run_id(Path(line).name) for line in lines)
    return [RunFolder(Path(line)) for line in lines] if is_right else []


def active_arrays(runs: Path, sweep: str) -> list[tuple[str, int]]:
    """Return (job number, tasks that may run at once) of the sweep's waiting and running arrays, by one squeue call.

    Raises:
        slurm_command.Unreachable: the controller does not answer.
    """
    folder = RunStore(runs).sweeps / sweep
    found = [read_array(one) for one in sorted(folder.iterdir()) if one.is_dir()] if folder.is_dir() else []
    throttles = {str(facts["job"]): int(facts["throttle"]) for facts in found if facts}
    left = queue.unfinished(throttles) if throttles else {}
    return [(job, min(throttle, left[job])) for job, throttle in throttles.items() if left.get(job)]
