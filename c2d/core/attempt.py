"""One attempt at a run: it holds the lock, keeps status.json up to date and records every failure with its class."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import SoftFileLock, Timeout

from c2d.core.disk import disk_error, temporary_path, unfinished
from c2d.core.errors import Busy, InputError, RunError, first_line
from c2d.core.failure_classes import classify_error
from c2d.core.json_values import items, read_object, required
from c2d.core.masking import mask_text
from c2d.core.process.stop_signals import STOP_SIGNALS
from c2d.core.provenance import attempt_facts
from c2d.core.regular_file import FormatError, Problem, file_state
from c2d.core.run_folder import LAUNCHER_FILES, RunFolder, atomic_write_json
from c2d.core.run_state import is_abandoned, is_lock_dead, lock_owner, owner_text, process_start, time_stamp

CLOCK_MARGIN_S = 5.0
"""Largest difference between the clocks of two nodes of a job that is tolerated."""


class Interrupted(KeyboardInterrupt):
    """The run saved its state and stopped.

    Attributes:
        iteration: the last one that was saved; None if unknown.
        planned: True when it reached its `stop_after`; False when a signal stopped it.
        by: name of the signal, or "".
    """

    exit_code = 130

    def __init__(self, message: str = "", iteration: int | None = None, planned: bool = False, by: str = "") -> None:
        super().__init__(message)
        self.iteration, self.planned, self.by = iteration, planned, by


@contextmanager
def attempt(folder: RunFolder, quiet: bool = False) -> Iterator[logging.Logger]:
    """Hold the lock of a run while the body runs, and yield its logger.

    status.json is `running` inside, and afterwards `done`, `waiting` (interrupted) or `failed` with reason and class.

    Args:
        folder: the run; it is created if it does not exist.
        quiet: log to log.txt alone, not to stdout.

    Raises:
        Busy: another process writes this run.
        RunError: the body failed; an exception without a failure class is logged with its traceback and replaced.
    """
    # A lock file, not a lock of the kernel: the latter does not hold between the hosts of every network file system.
    lock = SoftFileLock(folder.lock)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        clear_dead_lock(folder)
        lock.acquire(timeout=0)
    except OSError as error:
        # filelock's Timeout is an OSError, too.
        if not isinstance(error, Timeout):
            raise disk_error(folder.path, error) from error
        owner = owner_text(folder.try_read_status())
        raise Busy(
            f"run {folder.id} is being written by {owner}; wait for it, or remove {folder.lock} if that process is gone"
        ) from None
    try:
        # Read under the lock: from here on no other process changes them.
        before, environments = folder.read_status(), _environments(folder)
        log = _logger(folder, quiet)
    except (InputError, RunError):
        lock.release()
        raise
    _remove_temporary_files(folder)
    number = (before.get("attempt") or 0) + 1
    fresh = {"stage": "configure", "reason": None, "failure_class": None, "error": None}
    clock = {"begun": round(time.time(), 3), "elapsed_before_s": max(0.0, before.get("elapsed_s") or 0.0)}
    # None: earlier attempts were of a version that did not record it.
    clock["cpu_before_s"] = before.get("cpu_s") if clock["elapsed_before_s"] else 0.0
    try:
        folder.write_status("running", attempt=number, **fresh, **clock)
        environments.append({"attempt": number, **attempt_facts()})
        atomic_write_json(folder.env, {"format": 1, "attempts": environments})
        with _termination_as_interrupt():
            yield log
        folder.write_status("done", stage="done")
    # Before KeyboardInterrupt, of which it is a subclass.
    except Interrupted as stop:
        _raise_failed_rank(folder, log, clock["begun"], stop)
        reached = {} if stop.iteration is None else {"iteration": stop.iteration}
        folder.write_status("waiting", reason=str(stop) or "interrupted; call again to continue", **reached)
        raise
    except KeyboardInterrupt as stop:
        _raise_failed_rank(folder, log, clock["begun"], stop)
        folder.write_status("waiting", reason="interrupted; call again to continue from the newest checkpoint")
        raise
    except (RunError, InputError) as error:
        if error.failure_class == "hang":
            _raise_failed_rank(folder, log, clock["begun"], error)
        _record_failure(folder, log, str(error), error.failure_class)
        raise
    except Exception as error:
        log.error(traceback.format_exc())
        line, failure_class = f"{type(error).__name__}: {first_line(error)}", classify_error(error)
        if failure_class == "hang":
            _raise_failed_rank(folder, log, clock["begun"], error)
        _record_failure(folder, log, line, failure_class)
        raise RunError(f"{folder.id}: {line}; the traceback is in {folder.log}", failure_class) from error
    finally:
        # getLogger returns the same object to the next attempt of this process: handlers that stay would write each
        # line twice.
        for handler in list(log.handlers):
            handler.close()
            log.removeHandler(handler)
        lock.release()


@contextmanager
def record_rank_failure(folder: RunFolder, rank: int) -> Iterator[None]:
    """Record an exception of the body, on a rank other than 0, in a report that rank 0 reads when it ends.

    It covers the build of the run as well: rank 0 only sees that the others closed their connections.

    Args:
        folder: the run.
        rank: of this process.
    """
    try:
        yield
    except Exception as error:
        failure_class = classify_error(error)
        if rank and failure_class != "hang":  # a rank that only lost the others explains nothing
            with suppress(RunError, OSError):  # a full disk
                name = "" if isinstance(error, (RunError, InputError)) else f"{type(error).__name__}: "
                folder.write_rank_report(rank, failure_class, name + first_line(error))
        raise


@contextmanager
def record_build_failure(folder: RunFolder) -> Iterator[None]:
    """Record an exception of the body, which runs before an attempt begins, in status.json.

    Raises:
        RunError: one line in the place of an exception without a failure class.
    """
    try:
        yield
    except (InputError, RunError):
        raise
    except Exception as error:
        line, failure_class = f"{type(error).__name__}: {first_line(error)}", classify_error(error)
        if lock_owner(folder) is None:  # another process may be writing the run: then its status stays
            folder.write_status("failed", reason=line, failure_class=failure_class, error=line)
        raise RunError(f"{folder.id} could not be built: {line}", failure_class) from error


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on TERM and USR2, as Ctrl-C does; the training loop replaces these handlers later."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    # Python accepts signal handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_failed_rank(folder: RunFolder, log: logging.Logger, begun: float, error: BaseException) -> None:
    """Record and raise what stopped another rank since this process started; this one was only stopped with it.

    Not since the attempt began: this rank may have built its model longer than the other one lived.

    Raises:
        RunError: another rank reported a failure.
    """
    since = min(begun, process_start(os.getpid()) or begun)
    for path in sorted(folder.ranks.glob("*.json")) if int(os.environ.get("WORLD_SIZE") or 1) > 1 else ():
        report = read_object(path)
        if isinstance(report, Problem) or report.get("rank") in (0, None):
            continue
        reported_at = time_stamp(report.get("time"))
        if reported_at is not None and reported_at >= since - CLOCK_MARGIN_S:
            line = f"rank {report['rank']} on {report.get('node')}: {report.get('line')}"
            _record_failure(folder, log, line, str(report.get("class")))
            raise RunError(line, str(report.get("class"))) from error


def _record_failure(folder: RunFolder, log: logging.Logger, line: str, failure_class: str) -> None:
    log.error(f"failed ({failure_class}): {line}")
    try:
        folder.write_status("failed", reason=line, failure_class=failure_class, error=line)
    except RunError:  # the disk is full: status.json stays as it was and becomes stale
        print(f"warning: could not record the failure in {folder.status}", file=sys.stderr)


def clear_dead_lock(folder: RunFolder) -> None:
    """Remove the lock of a dead process. It is renamed first: of several processes only one succeeds in that.

    Between the look and the rename another process may have taken over: its lock is put back.
    """
    judged = _lock_identity(folder.lock)
    if judged is None or not is_lock_dead(folder, folder.try_read_status()):
        return
    with suppress(FileNotFoundError):
        os.rename(folder.lock, mine := temporary_path(folder.lock))
        if _lock_identity(mine) != judged:
            with suppress(OSError):
                os.link(mine, folder.lock)
        mine.unlink(missing_ok=True)


def _lock_identity(path: Path) -> tuple[int, int] | None:
    """Return what differs between two locks of one name: inode and time; None where there is none."""
    with suppress(OSError):
        found = path.lstat()
        return found.st_ino, found.st_mtime_ns
    return None


def _remove_temporary_files(folder: RunFolder) -> None:
    """Remove what killed processes wrote and could not rename any more.

    The lock is held, so no other attempt writes. Launchers write their files, other ranks `ranks/` and a benchmark
    `latency/` without this lock: of them, what an ended process left.
    """
    for place in (folder.path, folder.checkpoints, folder.ranks, folder.latency):
        for path in place.glob(".*"):
            writer = unfinished(path.name)
            of_attempt = writer and writer.name not in LAUNCHER_FILES and place in (folder.path, folder.checkpoints)
            if of_attempt or is_abandoned(path, time.time()):
                with suppress(OSError):
                    path.unlink()


def _environments(folder: RunFolder) -> list[Any]:
    """Return the attempts in env.json.

    Raises:
        InputError: it is damaged.
    """
    if file_state(folder.env) is None:
        return []
    try:
        found = read_object(folder.env)
        if isinstance(found, Problem):
            raise FormatError(found.message)
        return items(required(found, "attempts"), "attempts")
    except FormatError as error:
        raise InputError(
            f"{folder.env}: {error}; move it away: it has the code and the machine of earlier attempts, and the run "
            "needs none of them"
        ) from None


_LINE, _TIME = "%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"


class _MaskedLines(logging.Formatter):
    """Lines of a log without the secrets that messages and tracebacks may hold."""

    def format(self, record: logging.LogRecord) -> str:
        return mask_text(super().format(record))


class _LogFile(logging.FileHandler):
    """log.txt. On a full disk its lines are lost, and one of them is replaced by a warning; the run goes on."""

    has_warned = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Warn once, in one line, where logging prints a traceback for every record."""
        if not self.has_warned:
            print(
                f"warning: cannot write {self.baseFilename}: {first_line(sys.exc_info()[1] or OSError())}",
                file=sys.stderr,
            )
        self.has_warned = True

    def close(self) -> None:
        """Close the file, without an error for the lines that it could not hold."""
        with suppress(OSError):
            super().close()


def append_log_line(folder: RunFolder, line: str, quiet: bool = False) -> None:
    """Append a line to log.txt after the attempt, and print it unless `quiet`. What cannot be written is left out."""
    record = logging.makeLogRecord({"msg": mask_text(line)})
    with suppress(OSError), folder.log.open("a", encoding="utf-8") as stream:
        stream.write(_MaskedLines(_LINE, _TIME).format(record) + "\n")
    if not quiet:
        print(record.getMessage(), flush=True)


def _logger(folder: RunFolder, quiet: bool) -> logging.Logger:
    log = logging.getLogger(f"c2d.run.{folder.id}")
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        lines = _LogFile(folder.log)
    except OSError as error:
        raise disk_error(folder.log, error) from error
    lines.setFormatter(_MaskedLines(_LINE, _TIME))
    log.addHandler(lines)
    if not quiet:
        screen = logging.StreamHandler(sys.stdout)
        screen.setFormatter(_MaskedLines("%(message)s"))
        # on a terminal the progress bar shows the iterations; elsewhere plain lines do
        screen.addFilter(lambda record: not (sys.stdout.isatty() and record.getMessage().startswith("iter ")))
        log.addHandler(screen)
    return log
