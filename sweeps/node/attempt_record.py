"""Files of the run folder that a job reads and writes besides the training: lock, rank reports, unseen failures."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from contextlib import suppress

from c2d.core.run_folder import RunFolder, read_json

POLL_S = 5.0


def wait_for_writer(folder: RunFolder, deadline: float) -> None:
    """Wait while another process writes the run; the caller tries after that and handles a failure.

    An old attempt may still run on a node that was declared down.

    Args:
        deadline: time.monotonic() at which to stop waiting.
    """
    from c2d.core.run_state import lock_owner

    printed = False
    while (owner := lock_owner(folder)) is not None and time.monotonic() < deadline:
        if not printed:
            print_error(f"{folder.id} is being written by {owner}; waiting for it")
        printed = True
        time.sleep(min(POLL_S, max(0.1, deadline - time.monotonic())))


def remove_rank_reports(folder: RunFolder) -> None:
    """Remove failure reports of earlier starts; a rank of this start may have written its own already."""
    for path in folder.ranks.glob("*.json"):
        with suppress(Exception):
            if read_json(path).get("start") == job_start_id():
                continue
        path.unlink(missing_ok=True)


def record_unseen_failure(folder: RunFolder) -> None:
    """Record the end of the last attempt if no process on the node could, because the node went down with all of them.

    The process itself may have saved before it ended; its run is `waiting` then. That is recorded only for an attempt
    of this job, because an interruption by a person is not a failure.
    """
    status = folder.read_status()
    requeued = int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0
    saved = requeued and str(status.get("reason")).startswith("interrupted") and _is_attempt_of_this_job(folder)
    if status["state"] != "running" and not (status["state"] == "waiting" and saved):
        return
    from c2d.core.job_file import read_attempts
    from sweeps.node.failure_record import record_failure

    number = status.get("attempt")
    if any(attempt.get("attempt") == number for attempt in read_attempts(folder)):
        return
    failure_class, reason = ("node-failure", "the node went away") if requeued else ("killed", "killed from outside")
    record_failure(
        folder, status, failure_class, f"{reason}; no process was left to record more", requeued=True, by="job"
    )


def record_error(folder: RunFolder, error: Exception) -> int:
    """Print an error in one line, record it where the training has not, and return the exit code."""
    from c2d.core.errors import Busy, InputError, RunError, first_line
    from c2d.core.failure_classes import classify_error
    from c2d.core.masking import mask_text
    from c2d.core.run_state import lock_owner

    failure_class, line = classify_error(error), mask_text(first_line(error))
    if not isinstance(error, (RunError, InputError)):  # an error of the code: its traceback is needed
        line = f"{type(error).__name__}: {line}"
        traceback.print_exception(error)
    print(f"{folder.id} failed ({failure_class}): {line}", file=sys.stderr)
    if isinstance(error, Busy):
        return 1
    status = folder.try_read_status()
    with suppress(RunError, OSError):  # a full disk
        folder.write_rank_report(rank(), failure_class, line, job_start_id())
        # Only the first rank writes status.json, and a failure that the training recorded itself stays.
        own = status.get("pid") == os.getpid() and status.get("host") == socket.gethostname()
        if rank() == 0 and not (own and status["state"] == "failed") and lock_owner(folder) is None:
            folder.write_status("failed", reason=line, failure_class=failure_class, error=line)
    return 1


def job_start_id() -> str:
    """Return a text that is equal on all ranks of one start of the job, and different after a requeue."""
    job, restarts = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT") or 0
    return f"{job}-{restarts}" if job else f"pid {os.getpid()}"


def rank() -> int:
    """Return the rank of this process; 0 outside of torch.distributed."""
    return int(os.environ.get("RANK") or 0)


def world_size() -> int:
    """Return the number of processes of this job; 1 outside of torch.distributed."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def print_error(line: str) -> None:
    """Print a line to stderr at once."""
    print(line, file=sys.stderr, flush=True)


def _is_attempt_of_this_job(folder: RunFolder) -> bool:
    """Return whether the newest attempt was an earlier start of this job."""
    with suppress(Exception):
        return bool(read_json(folder.env)["attempts"][-1]["slurm"]["SLURM_JOB_ID"] == os.environ["SLURM_JOB_ID"])
    return False
