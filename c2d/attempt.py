"""One attempt at a run: one writer at a time, a status others can read, every failure recorded with its class."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from filelock import SoftFileLock, Timeout

from c2d.errors import InputError, RunError, first_line
from c2d.provenance import attempt_facts
from c2d.runfolder import RunFolder, atomic_write_json, disk_error, read_json

STALE_S = 300.0
"""A running run whose heartbeat is older is taken for dead (architecture: 5 minutes)."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and saved its state."""

    exit_code = 130


@contextmanager
def attempt(folder: RunFolder, quiet: bool = False) -> Iterator[logging.Logger]:
    """Inside: the lock is held, status.json says `running`, log lines go to log.txt (and to stdout unless `quiet`).

    On the way out status.json says `done`, `waiting` (interrupted) or `failed` with reason and class.
    """
    lock = SoftFileLock(folder.lock)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        _clear_dead_lock(folder)
        lock.acquire(timeout=0)
    except OSError as error:
        if not isinstance(error, Timeout):
            raise disk_error(folder.path, error) from error
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
        with _leaving():
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
        line, kind = f"{type(error).__name__}: {first_line(error)}", _class_of(error)
        _fail(folder, log, line, kind)
        raise RunError(f"{folder.id}: {line}; the traceback is in {folder.log}", kind) from error
    finally:
        for handler in list(log.handlers):
            handler.close()
            log.removeHandler(handler)
        lock.release()


@contextmanager
def refusing(folder: RunFolder) -> Iterator[None]:
    """What goes wrong before an attempt begins is one line as well, and status.json says it for the next reader."""
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        line, kind = f"{type(error).__name__}: {first_line(error)}", _class_of(error)
        folder.write_status("failed", reason=line, failure_class=kind, error=line)
        raise RunError(f"{folder.id} could not be built: {line}", kind) from error


def _class_of(error: Exception) -> str:
    """The failure class of an error that nobody raised on purpose."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        return "cuda-oom"
    return "host-oom" if isinstance(error, MemoryError) else "user-code"


@contextmanager
def _leaving() -> Iterator[None]:
    """TERM and USR2 end an export or an evaluation as Ctrl-C does; inside the training loop, Stop is in charge."""

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fail(folder: RunFolder, log: logging.Logger, line: str, failure_class: str) -> None:
    log.error(f"failed ({failure_class}): {line}")
    try:
        folder.write_status("failed", reason=line, failure_class=failure_class, error=line)
    except RunError:  # a full disk: the state file stays as it was, and goes stale
        print(f"warning: could not record the failure in {folder.status}", file=sys.stderr)


def _clear_dead_lock(folder: RunFolder) -> None:
    """A process killed outright leaves its lock. On its host it is known to be dead by its pid; on another host it
    counts as dead when its heartbeat is older than STALE_S. The lock is renamed away: only one contender can do that.
    """
    if not folder.lock.exists():
        return
    now = folder.read_status()
    if now["state"] != "running" or not isinstance(now.get("pid"), int):
        return
    age_s = time.time() - datetime.fromisoformat(now["heartbeat"]).timestamp()
    here = now.get("host") == socket.gethostname()
    if not _alive(now["pid"]) if here else age_s > STALE_S:
        with suppress(FileNotFoundError):
            os.rename(folder.lock, folder.path / f".lock.{uuid.uuid4().hex}")
        for dead in folder.path.glob(".lock.*"):
            dead.unlink(missing_ok=True)


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
