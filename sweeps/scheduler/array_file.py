"""array.json of a submission: what SLURM has accepted, read by launchers and by jobs on their nodes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from c2d.core.job_file import MAX_COUNT
from c2d.core.json_values import SMALL_BYTES, read_object, required, text, whole
from c2d.core.regular_file import FormatError, Problem
from c2d.core.run_folder import atomic_write_json

ARRAY = "array.json"


def write_array(folder: Path, **facts: Any) -> None:
    """Write array.json: name, job (number), tasks (count), throttle, cap, dependency, submitted (UTC), runs, launch.

    `runs` has the ids in array order, and `launch` job.json of the first one, from which that of all can be written
    again. A canary has neither.
    """
    atomic_write_json(folder / ARRAY, {"format": 1, **facts})


def read_array(folder: Path) -> dict[str, Any] | None:
    """Return array.json; None where it is missing, damaged or written by another version."""
    value = read_object(folder / ARRAY, SMALL_BYTES)
    if isinstance(value, Problem):
        return None
    try:
        job, throttle = text(required(value, "job"), "job"), whole(value.get("throttle"), "throttle", high=MAX_COUNT)
    except FormatError:
        return None
    return {**value, "job": job, "throttle": throttle or 1} if re.fullmatch(r"[0-9]{1,18}", job) else None
