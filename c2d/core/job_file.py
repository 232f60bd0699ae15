"""Files of launchers in a run folder: job.json (the last launch) and attempts.jsonl (the failed attempts).

job.json has one writer, the launcher, under the store's submission lock. attempts.jsonl is appended on the node, one
line for every attempt that ended without a result. It limits the retries, and wasted hours are counted from it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from c2d.core.json_values import parse_json
from c2d.core.regular_file import read_bytes
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.run_state import HEARTBEAT_LIMIT_S, is_process_alive, time_stamp

LAUNCHER_HEARTBEAT = "alive"
"""File in the folder of a submission that a local launcher touches every half minute."""


class Job(BaseModel):
    """The last launch of a run. In state `submitting`, the launcher may have ended before it knew the job's number."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    sweep: str
    where: Literal["local", "slurm"]
    state: Literal["submitting", "submitted", "cancelled"]
    name: str  # unique: a job is found by it when sbatch timed out after it had submitted
    job: str | None = None  # SLURM: "123_4" or "123"; local: None
    folder: str = ""  # pickles, script and logs of this submission
    task: int = 0  # place in the submission's folders.txt, and in the array
    profile: str | None = None
    size: Literal["small", "large"] = "small"
    gpus: int = 0  # of all nodes together
    threads: int = 0  # of a local run's process; kept when it is continued, sums of floats depend on it
    mem_gb: float | None = None
    hours: float | None = None
    exclude: list[str] = []  # nodes
    data: str = ""  # root of the data cards at submission
    snapshot: str = ""
    depends: list[str] = []  # run ids of unfinished teachers (and the canary) at submission
    submissions: int = 1  # of this run so far
    submitted: str = ""  # UTC
    host: str = ""
    pid: int = 0


def read_job(run: RunFolder) -> Job | None:
    """Return job.json; None where no launcher started the run, or where the file has another format."""
    try:
        return Job.model_validate_json(run.job.read_bytes())
    except (OSError, ValueError):
        return None


def write_job(run: RunFolder, job: Job) -> None:
    """Replace job.json. Call it under the store's submission lock."""
    atomic_write_json(run.job, job.model_dump())


def is_launcher_alive(job: Job) -> bool:
    """Return whether the process that wrote job.json is still running; False for one of another host."""
    return job.host == socket.gethostname() and is_process_alive(job.pid, time_stamp(job.submitted))


def has_launcher_ended(job: Job, now: float) -> bool:
    """Return whether a local launcher has ended: by its pid on this host, elsewhere by the file that it touches.

    Args:
        now: seconds since the epoch.
    """
    if job.host == socket.gethostname() and not is_launcher_alive(job):
        return True
    try:
        return bool(job.folder) and now - (Path(job.folder) / LAUNCHER_HEARTBEAT).stat().st_mtime > HEARTBEAT_LIMIT_S
    except OSError:
        return False


def launched_since(status: Mapping[str, Any], job: Job | None) -> bool:
    """Return whether a run was launched after status.json was last written."""
    return job is not None and (time_stamp(job.submitted) or 0.0) > (time_stamp(status.get("heartbeat")) or 0.0)


def read_attempts(run: RunFolder) -> list[dict[str, Any]]:
    """Return the lines of attempts.jsonl, oldest first. A line cut off by a crash is left out."""
    try:
        lines = read_bytes(run.attempts).split(b"\n")
    except (OSError, ValueError):  # missing, or not a regular file
        return []
    found = []
    for line in lines:
        with suppress(ValueError):
            value = parse_json(line)
            if isinstance(value, dict):
                found.append(value)
    return found


def append_attempt(run: RunFolder, **facts: Any) -> None:
    """Append one failed attempt: class, reason, job, node, exit_code, seconds, lost_s, iteration, requeued, by.

    One `write` of one line in append mode: lines of two writers do not mix.
    """
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **facts}, allow_nan=False) + "\n"
    run.path.mkdir(parents=True, exist_ok=True)
    handle = os.open(run.attempts, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
