"""Files of launchers in a run folder: job.json (the last launch) and attempts.jsonl (the failed attempts).

job.json has one writer, the launcher, under the store's submission lock. attempts.jsonl is appended on the node, one
line for every attempt that ended without a result. It limits the retries, and wasted hours are counted from it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from c2d.core.json_values import SMALL_BYTES, number, parse_json, text, time_text, whole
from c2d.core.masking import mask_text
from c2d.core.regular_file import FormatError, MissingFile, Problem, error_text, file_state, printable, read_bytes
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.run_state import HEARTBEAT_LIMIT_S, is_process_alive, time_stamp
from c2d.core.status_shape import MAX_S
from c2d.core.store_folder import is_run_id

CANARY = "#canary"
"""End of the id of a canary, after the id of its run."""
LAUNCHER_HEARTBEAT = "alive"
"""File in the folder of a submission that a local launcher touches every half minute."""


MAX_COUNT = 10**7
MEND_JOB = "see with squeue that no job of the run waits or runs, remove the file, then submit the sweep again"
MEND_ATTEMPTS = "move it away: failed attempts are counted from none again"


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds a character that cannot be shown")
    return value


def _file_name(value: str) -> str:
    if value and not is_run_id(value):
        raise ValueError("is not the name of a file")
    return value


def _time(value: str) -> str:
    # A FormatError is a ValueError, which pydantic reports with the name of the field.
    return time_text(value, "it")


Line = Annotated[str, AfterValidator(_one_line)]
FileName = Annotated[str, AfterValidator(_file_name)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Size = Annotated[float, Field(gt=0, le=1e6)]


class Job(BaseModel):
    """The last launch of a run. In state `submitting`, the launcher may have ended before it knew the job's number.

    In state `cancelling`, a person's cancel is on its way to SLURM, which may refuse it (`sweeps.actions.cancel`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    format: Literal[1] = 1
    sweep: FileName
    where: Literal["local", "slurm"]
    state: Literal["submitting", "submitted", "cancelling", "cancelled"]
    name: Line  # unique: a job is found by it when sbatch timed out after it had submitted
    job: Annotated[str, Field(pattern=r"^[0-9]{1,18}(_[0-9A-Za-z+-]{1,64})?$")] | None = None  # local: None
    folder: Line = ""  # pickles, script and logs of this submission
    task: Count = 0  # place in the submission's folders.txt, and in the array
    profile: Line | None = None
    size: Literal["small", "large"] = "small"
    gpus: Count = 0  # of all nodes together
    threads: Count = 0  # of a local run's process; kept when it is continued, sums of floats depend on it
    mem_gb: Size | None = None
    hours: Size | None = None
    exclude: list[Line] = []  # nodes
    data: Line = ""  # root of the data cards at submission
    snapshot: FileName = ""
    depends: list[FileName] = []  # run ids of unfinished teachers (and the canary) at submission
    submissions: Count = 1  # of this run so far
    submitted: Annotated[str, AfterValidator(_time)] = ""  # UTC
    host: Line = ""
    pid: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


def load_job(run: RunFolder, *, canary: bool = False) -> Job | Problem | None:
    """Return job.json, or canary.json; None where there is none, a Problem where the file is damaged."""
    path = run.canary if canary else run.job
    try:
        return Job.model_validate_json(read_bytes(path, most=SMALL_BYTES))
    except MissingFile:
        return None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Problem(path, f"{where + ': ' if where else ''}{printable(first['msg'])[:200]}; {MEND_JOB}")
    except (OSError, ValueError) as error:
        return Problem(path, f"{error_text(error)}; {MEND_JOB}")


def read_job(run: RunFolder, *, canary: bool = False) -> Job | None:
    """Return job.json, or canary.json; None where there is none, or where the file is damaged (see `load_job`)."""
    found = load_job(run, canary=canary)
    return None if isinstance(found, Problem) else found


def read_canary(run: RunFolder, job: Job | None) -> Job | None:
    """Return the canary that the whole run waits for; None where there is none.

    Args:
        job: the launch of the whole run; None while only its canary is submitted.
    """
    return read_job(run, canary=True) if job is None or f"{run.id}{CANARY}" in job.depends else None


def launch_of_job(run: RunFolder, number: str) -> Job | None:
    """Return the launch with this job of SLURM: the canary, else the last launch of the whole run."""
    canary = read_job(run, canary=True) if number else None
    return canary if canary is not None and canary.job == number else read_job(run)


def write_job(run: RunFolder, job: Job, *, canary: bool = False) -> None:
    """Replace job.json, or canary.json. Call it under the store's submission lock."""
    atomic_write_json(run.canary if canary else run.job, job.model_dump())


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


def load_attempts(run: RunFolder) -> list[dict[str, Any]] | Problem:
    """Return the lines of attempts.jsonl, oldest first; a Problem where it is not a regular file.

    A line that was cut off by a crash, or whose values have another form, is left out.
    """
    try:
        lines = read_bytes(run.attempts, most=MAX_ATTEMPTS_BYTES).split(b"\n")
    except MissingFile:
        return []
    except (OSError, FormatError) as error:
        return Problem(run.attempts, f"{error_text(error)}; {MEND_ATTEMPTS}")
    found = []
    for line in lines:
        with suppress(FormatError):
            value = parse_json(line)
            if isinstance(value, dict):
                found.append(value | {key: check(value[key], key) for key, check in _CHECKS.items() if key in value})
    return found


def read_attempts(run: RunFolder) -> list[dict[str, Any]]:
    """Return the lines of attempts.jsonl, oldest first; [] where it is missing or damaged (see `load_attempts`)."""
    found = load_attempts(run)
    return [] if isinstance(found, Problem) else found


MAX_ATTEMPTS_BYTES = 64 * 2**20
_CHECKS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "time": time_text,
    **dict.fromkeys(("class", "reason", "job", "node", "by"), lambda value, key: text(value, key) or None),
    "exit_code": lambda value, key: whole(value, key, -(2**31), 2**31),
    **dict.fromkeys(("iteration", "attempt", "submission"), whole),
    **dict.fromkeys(("seconds", "lost_s"), lambda value, key: number(value, key, -MAX_S, MAX_S)),
}
"""{key of a line: function (value, key) that returns the value, or raises FormatError}. Null is allowed."""


def append_attempt(run: RunFolder, **facts: Any) -> None:
    """Append one failed attempt: class, reason, job, node, exit_code, seconds, lost_s, iteration, requeued, by.

    One `write` of one line in append mode: lines of two writers do not mix. Secrets in the reason are masked.

    Raises:
        OSError: the system refuses, or something other than a file has the name: a named pipe would block.
    """
    if isinstance(state := file_state(run.attempts), Problem):
        raise OSError(errno.EINVAL, state.message, str(run.attempts))
    if isinstance(facts.get("reason"), str):
        facts["reason"] = mask_text(facts["reason"])
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **facts}, allow_nan=False) + "\n"
    run.path.mkdir(parents=True, exist_ok=True)
    handle = os.open(run.attempts, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(handle).st_size
        # A line that was cut off by a kill or a full disk stays a line of its own.
        is_cut = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        os.write(handle, ("\n" + line if is_cut else line).encode())
    finally:
        os.close(handle)
