"""One attempt at a run: one writer at a time, a status others can read, every failure recorded with its class."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import SoftFileLock, Timeout

from c2d.errors import InputError, RunError
from c2d.provenance import attempt_facts
from c2d.runfolder import RunFolder, atomic_write_json, read_json


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and saved its state."""

    exit_code = 130


@contextmanager
def attempt(folder: RunFolder, quiet: bool = False) -> Iterator[logging.Logger]:
    """Inside: the lock is held, status.json says `running`, log lines go to log.txt (and to stdout unless `quiet`).

    On the way out status.json says `done`, `waiting` (interrupted) or `failed` with reason and class.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(folder.lock)
    _clear_dead_lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        now = folder.read_status()
        raise InputError(
            f"run {folder.id} is being written by pid {now.get('pid')} on {now.get('host')} "
            f"(heartbeat {now.get('heartbeat')}); wait for it, or remove {folder.lock} if that process is gone"
        ) from None
    log = _logger(folder, quiet)
    before = folder.read_status()
    number = before.get("attempt", 0) + 1
    fresh = {"stage": "configure", "reason": None, "failure_class": None, "error": None}
    clock = {"begun": round(time.time(), 3), "elapsed_before_s": before.get("elapsed_s", 0.0)}
    try:
        folder.write_status("running", attempt=number, **fresh, **clock)
        _note_environment(folder, number)
        yield log
        folder.write_status("done", stage="done")
    except Interrupted:
        folder.write_status("waiting", reason="interrupted; call again to continue")
        raise
    except KeyboardInterrupt:
        folder.write_status("waiting", reason="interrupted; call again to continue from the newest checkpoint")
        raise
    except (RunError, InputError) as error:
        _fail(folder, log, str(error), getattr(error, "failure_class", "config"))
        raise
    except Exception as error:
        log.error(traceback.format_exc())
        kind = (
            "cuda-oom"
            if type(error).__name__ == "OutOfMemoryError"
            else "host-oom"
            if isinstance(error, MemoryError)
            else "user-code"
        )
        line = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        _fail(folder, log, line, kind)
        raise RunError(f"{folder.id}: {line}; the traceback is in {folder.log}", kind) from error
    finally:
        for handler in list(log.handlers):
            handler.close()
            log.removeHandler(handler)
        lock.release()


def _fail(folder: RunFolder, log: logging.Logger, line: str, failure_class: str) -> None:
    log.error(f"failed ({failure_class}): {line}")
    try:
        folder.write_status("failed", reason=line, failure_class=failure_class, error=line)
    except RunError:  # a full disk: the state file stays as it was, and goes stale
        print(f"warning: could not record the failure in {folder.status}", file=sys.stderr)


def _clear_dead_lock(folder: RunFolder) -> None:
    """A process killed outright leaves its lock; on the same host it is known to be dead by its pid."""
    if not folder.lock.exists():
        return
    import socket

    now = folder.read_status()
    if now.get("host") == socket.gethostname() and isinstance(now.get("pid"), int) and not _alive(now["pid"]):
        folder.lock.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _note_environment(folder: RunFolder, number: int) -> None:
    before = read_json(folder.env)["attempts"] if folder.env.exists() else []
    atomic_write_json(folder.env, {"format": 1, "attempts": [*before, {"attempt": number, **attempt_facts()}]})


def _logger(folder: RunFolder, quiet: bool) -> logging.Logger:
    log = logging.getLogger(f"c2d.run.{folder.id}")
    log.setLevel(logging.INFO)
    log.propagate = False
    lines = logging.FileHandler(folder.log)
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(lines)
    if not quiet:
        screen = logging.StreamHandler(sys.stdout)
        screen.setFormatter(logging.Formatter("%(message)s"))
        # on a terminal the progress bar shows the iterations; elsewhere plain lines do
        screen.addFilter(lambda record: not (sys.stdout.isatty() and record.getMessage().startswith("iter ")))
        log.addHandler(screen)
    return log
