"""The trackers of one attempt: made when it begins, given each event, ended after status.json has its last state."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from c2d.core.attempt import append_log_line
from c2d.core.run_folder import RunFolder
from c2d.core.store_folder import RunStore
from c2d.tracking.tracker import Tracker
from c2d.tracking.tracker_option import TrackerOption
from c2d.tracking.tracker_thread import TrackerThread

FINISH_S = 20.0
"""Limit for all trackers together to send what waits when a run is finished or has failed."""
STOP_S = 5.0
"""The same after a stop signal. SLURM kills 30 s after SIGTERM (KillWait), and the checkpoint is saved first."""
MODULES = {
    "tensorboard": ("c2d.tracking.tensorboard_tracker", "TensorBoardTracker"),
    "mlflow": ("c2d.tracking.mlflow_tracker", "MLflowTracker"),
    "wandb": ("c2d.tracking.wandb_tracker", "WandbTracker"),
}
"""{name: module and class}. A module is imported when a run is tracked; its package when the thread opens it."""


class Tracking:
    """Send the events of one attempt to trackers. Without trackers every call does nothing.

    A `with` around the attempt: the trackers end after status.json is written, so that they cannot delay it.

    Args:
        folder: the run.
        options: the trackers.
        quiet: print nothing; lines go to log.txt alone.
    """

    def __init__(self, folder: RunFolder, options: Iterable[TrackerOption] = (), quiet: bool = False) -> None:
        self.folder, self.options, self.quiet = folder, tuple(options), quiet
        self._threads: list[TrackerThread] = []
        self._log: logging.Logger | None = None
        self._late_lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt) and not getattr(error, "planned", False)
        limit_s = STOP_S if stopped else FINISH_S
        deadline = time.monotonic() + limit_s
        self._log = None  # the attempt has closed it
        for thread in self._threads:
            thread.end()
        lost = [thread.join(deadline - time.monotonic()) for thread in self._threads]
        for line in (*self._late_lines, *filter(None, lost)):
            append_log_line(self.folder, line, self.quiet)

    def start(self, log: logging.Logger | None = None) -> None:
        """Start the threads, inside the attempt.

        Args:
            log: of the run, for the places and for warnings; None: places are printed, warnings written at the end.
        """
        self._log = log
        store = RunStore(self.folder.path.parent)
        self._threads = [
            TrackerThread(make_tracker(option, store), option.name, self.folder, self._warn) for option in self.options
        ]
        if self.options:
            line = f"tracked in {', '.join(option.place_text(store) for option in self.options)}"
            if log is not None:
                log.info(line)
            elif not self.quiet:
                print(line)

    def continue_after(self, iteration: int) -> None:
        """Send the earlier events of the run, up to the iteration from which this attempt continues."""
        for thread in self._threads:
            thread.send_history(iteration)

    def send(self, event: Mapping[str, Any]) -> None:
        """Give an event of metrics.jsonl to every tracker. Never waits, never raises."""
        for thread in self._threads:
            thread.put(event)

    def _warn(self, line: str) -> None:
        if self._log is not None:
            self._log.warning(line)
        else:
            self._late_lines.append(line)


def send_finished(folder: RunFolder, options: Iterable[TrackerOption], quiet: bool = False) -> None:
    """Send a run that is finished: its curves from metrics.jsonl, its result, its state.

    Args:
        folder: the run.
        options: the trackers.
        quiet: print nothing.
    """
    with Tracking(folder, options, quiet) as tracking:
        tracking.start()


def make_tracker(option: TrackerOption, store: RunStore) -> Tracker:
    """Return the tracker of an option, which has opened nothing yet.

    Args:
        option: name and destination.
        store: of the run, for the default destination.
    """
    module, name = MODULES[option.name]
    make: Callable[[TrackerOption, RunStore], Tracker] = getattr(import_module(module), name)
    return make(option, store)
