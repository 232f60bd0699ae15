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
from pathlib import Path
from typing import Any

from filelock import SoftFileLock, Timeout

from c2d.core.errors import Busy, InputError, RunError, first_line
from c2d.core.provenance import attempt_facts
from c2d.core.run_folder import RunFolder, atomic_write_json, disk_error, read_json

STALE_S = 300.0
"""A running run whose heartbeat is older is taken for dead (architecture: 5 minutes)."""


UNEXPLAINED_S = 60.0
"""A lock is left alone for so long when its owner never said `running`, or has said how it ended: it needs moments."""


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
        raise Busy(
            f"run {folder.id} is being written by {_who(folder.read_status())}; wait for it, or remove {folder.lock} "
            "if that process is gone"
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
        line, kind = f"{type(error).__name__}: {first_line(error)}", class_of(error)
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
        line, kind = f"{type(error).__name__}: {first_line(error)}", class_of(error)
        if writer(folder) is None:  # the status of a run that is alive elsewhere is not ours
            folder.write_status("failed", reason=line, failure_class=kind, error=line)
        raise RunError(f"{folder.id} could not be built: {line}", kind) from error


def writer(folder: RunFolder) -> str | None:
    """Who writes this run at the moment, `pid 12 on node3 (heartbeat ...)`; None when nobody does.

    Looks only: the lock of a dead process stays where it is, and the next attempt takes it over.
    """
    if not folder.lock.exists():
        return None
    now = folder.read_status()
    return None if _dead(folder, now) else _who(now)


def _who(status: dict[str, Any]) -> str:
    return f"pid {status.get('pid')} on {status.get('host')} (heartbeat {status.get('heartbeat')})"


def class_of(error: BaseException) -> str:
    """The failure class of an error: its own, or, where nobody raised it on purpose, what its type says."""
    if isinstance(error, (RunError, InputError)):
        return error.failure_class
    name = type(error).__name__
    if name == "OutOfMemoryError":  # torch's, without importing torch
        return "cuda-oom"
    if (name.startswith("Dist") and name.endswith("Error")) or "gloo/" in str(error):
        return "hang"  # DistBackendError and its kin: another rank is gone or silent, the reason lies there
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's allocator on the CPU
        return "host-oom"
    return "import" if isinstance(error, ImportError) else "user-code"


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
    if folder.lock.exists() and _dead(folder, folder.read_status()):
        with suppress(FileNotFoundError):
            os.rename(folder.lock, folder.path / f".lock.{uuid.uuid4().hex}")
        for dead in folder.path.glob(".lock.*"):
            dead.unlink(missing_ok=True)


def _dead(folder: RunFolder, now: dict[str, Any]) -> bool:
    """True when the owner of the lock is gone: on its own host by its pid, elsewhere by a heartbeat beyond STALE_S.

    Where status.json does not say `running`, the owner was killed in the moment before it could say so, or in the
    moment after it had said how it ended.
    """
    if now["state"] != "running" or not isinstance(now.get("pid"), int):
        newest = 0.0
        for path in (folder.lock, folder.status):
            with suppress(FileNotFoundError):
                newest = max(newest, path.stat().st_mtime)
        return time.time() - newest > UNEXPLAINED_S
    beat = datetime.fromisoformat(now["heartbeat"]).timestamp()
    if now.get("host") == socket.gethostname():
        return not _alive(now["pid"], beat)
    return time.time() - beat > STALE_S


def _alive(pid: int, beat: float) -> bool:
    """Whether the process that wrote a heartbeat at `beat` (seconds since 1970) lives; a younger one has its number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except (OSError, StopIteration, IndexError, ValueError):
        return True
    return int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK") < beat + 5


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
