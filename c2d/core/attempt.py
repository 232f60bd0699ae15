"""One attempt at a run: one writer at a time, a status others can read, every failure recorded with its class."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from filelock import SoftFileLock, Timeout

from c2d.core.errors import Busy, InputError, RunError, first_line
from c2d.core.failure_classes import classify_error
from c2d.core.provenance import attempt_facts
from c2d.core.run_folder import RunFolder, atomic_write_json, disk_error, read_json
from c2d.core.run_state import is_lock_dead, lock_owner, owner_text


class Interrupted(KeyboardInterrupt):
    """The run saved its state and left: asked by a signal (`by`: its name), or `planned`, at its `stop_after`."""

    exit_code = 130

    def __init__(self, message: str = "", iteration: int | None = None, planned: bool = False, by: str = "") -> None:
        super().__init__(message)
        self.iteration, self.planned, self.by = iteration, planned, by


@contextmanager
def attempt(folder: RunFolder, quiet: bool = False) -> Iterator[logging.Logger]:
    """Inside: the lock is held, status.json says `running`, log lines go to log.txt (and to stdout unless `quiet`).

    On the way out status.json says `done`, `waiting` (interrupted) or `failed` with reason and class.

    Raises:
        Busy: another process writes this run.
    """
    lock = SoftFileLock(folder.lock)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        clear_dead_lock(folder)
        lock.acquire(timeout=0)
    except OSError as error:
        if not isinstance(error, Timeout):
            raise disk_error(folder.path, error) from error
        owner = owner_text(folder.read_status())
        raise Busy(
            f"run {folder.id} is being written by {owner}; wait for it, or remove {folder.lock} if that process is gone"
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
    except Interrupted as stop:
        reached = {} if stop.iteration is None else {"iteration": stop.iteration}
        folder.write_status("waiting", reason=str(stop) or "interrupted; call again to continue", **reached)
        raise
    except KeyboardInterrupt:
        folder.write_status("waiting", reason="interrupted; call again to continue from the newest checkpoint")
        raise
    except (RunError, InputError) as error:
        _fail(folder, log, str(error), error.failure_class)
        raise
    except Exception as error:
        log.error(traceback.format_exc())
        line, kind = f"{type(error).__name__}: {first_line(error)}", classify_error(error)
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
        line, kind = f"{type(error).__name__}: {first_line(error)}", classify_error(error)
        if lock_owner(folder) is None:  # the status of a run that is alive elsewhere is not ours
            folder.write_status("failed", reason=line, failure_class=kind, error=line)
        raise RunError(f"{folder.id} could not be built: {line}", kind) from error


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


def clear_dead_lock(folder: RunFolder) -> None:
    """A process killed outright leaves its lock. It is renamed away: only one contender can do that."""
    if folder.lock.exists() and is_lock_dead(folder, folder.read_status()):
        with suppress(FileNotFoundError):
            os.rename(folder.lock, folder.path / f".lock.{uuid.uuid4().hex}")
        for dead in folder.path.glob(".lock.*"):
            dead.unlink(missing_ok=True)


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
