"""Names and comments of jobs, as squeue shows them: method and seed, the sweep; the cell as a comment.

An array is found again by its name when sbatch fails half-way, so that name ends with a token and is unique. A task has
its own name and comment from its start on: its batch script sets them (`name_job_lines`) as soon as
array.json exists, which is when the launcher needs the first name no more.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from sweeps.definition.profile import Profile
from sweeps.definition.sbatch_flags import flag_name
from sweeps.launchers.launch_request import Task
from sweeps.launchers.submission import NAMES
from sweeps.scheduler.array_file import ARRAY

PART_LENGTH, SWEEP_LENGTH, COMMENT_LENGTH = 24, 40, 200
MOST_METHODS = 3
"""More methods of one array are counted instead of named."""


def task_name(task: Task, sweep: str) -> str:
    """Return the name of one task, `icod-s0-lr`; it is not unique.

    Args:
        sweep: its name.
    """
    return "-".join([*_method_and_seed([task]), _clean(sweep, SWEEP_LENGTH)])


def array_name(tasks: Sequence[Task], sweep: str, token: str) -> str:
    """Return the name of an array, `icod-s0-2-lr-7e9d7fc3`.

    Args:
        sweep: its name.
        token: makes the name unique.
    """
    return "-".join([*_method_and_seed(tasks), _clean(sweep, SWEEP_LENGTH), token])


def task_comment(task: Task) -> str:
    """Return the cell of a task in ASCII without quotes, `method=icod, seed=0`; "" where it is not known."""
    return re.sub(r"[^A-Za-z0-9 _.,:;=+/()@%\[\]{}*-]", "?", task.cell)[:COMMENT_LENGTH].strip()


def array_comment(tasks: Sequence[Task]) -> str:
    """Return the comment of an array until its tasks start: its only cell, or the number of its cells and the first."""
    first = task_comment(tasks[0])
    return f"{len(tasks)} cells, first {first}"[:COMMENT_LENGTH] if first and len(tasks) > 1 else first


def name_lines(tasks: Sequence[Task], sweep: str) -> str:
    """Return a line for each task: its name, a blank, its comment.

    Args:
        sweep: its name.
    """
    return "".join(f"{task_name(task, sweep)} {task_comment(task)}\n" for task in tasks)


def has_comment(profile: Profile) -> bool:
    """Return whether the profile sets the comment of jobs: some clusters charge or route by it."""
    return any(flag_name(key) == "comment" for key in profile.sbatch)


def name_job_lines(folder: Path, profile: Profile) -> list[str]:
    """Return lines that give the task its own name and comment, in the background, and only if SLURM allows it.

    Before array.json exists the launcher may have to find the array by its first name, so they wait for that file.

    Args:
        folder: of the submission.
    """
    base = shlex.quote(str(folder))
    comment = "" if has_comment(profile) else ' Comment="$comment"'
    return [
        "name_job() {",
        "    for pause in 0 2 5 10 30 60; do",
        '        sleep "$pause"',
        f"        [ -e {base}/{ARRAY} ] || continue",
        f'        read -r name comment < <(sed -n "$((task + 1))p" {base}/{NAMES})',
        '        scontrol update JobId="$job" Name="$name"' + comment,
        "        return",
        "    done",
        "}",
        "name_job >/dev/null 2>&1 &",
    ]


def _method_and_seed(tasks: Sequence[Task]) -> list[str]:
    methods, seeds = [], set()
    for task in tasks:
        # A run id is student, method, 12 hex digits and the seed.
        stem, seed = re.fullmatch(r"(.*?)(?:-[0-9a-f]{12})?(?:-s([0-9]{1,9}))?", task.run.id, re.DOTALL).groups()  # type: ignore[union-attr]
        methods.append(_clean(task.method or stem, PART_LENGTH))
        if seed is not None:
            seeds.add(int(seed))
    named = list(dict.fromkeys(methods))
    method = "+".join(named) if len(named) <= MOST_METHODS else ""
    if not method or len(method) > 2 * PART_LENGTH:
        method = f"{len(named)}methods"
    canary = ["canary"] if any(task.stop_after is not None for task in tasks) else []
    if not seeds:
        return [*canary, method]
    low, high = min(seeds), max(seeds)
    return [*canary, method, f"s{low}" if low == high else f"s{low}-{high}"]


def _clean(text: str, length: int) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-")[:length].rstrip("-") or "x"
