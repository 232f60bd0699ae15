"""One thread for one tracker, with a bounded queue: `put` never waits, and no failure leaves the thread.

What a tracker loses is counted, and nothing is sent twice: metrics.jsonl has every event, and an attempt that continues
sends them again.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from c2d.core.curves.event_file import read_events
from c2d.core.errors import first_line
from c2d.core.masking import mask_text
from c2d.core.run_folder import RunFolder
from c2d.tracking.metric_names import is_number, points_of
from c2d.tracking.tracked_run import read_outcome, read_tracked_run
from c2d.tracking.tracker import Tracker

CAPACITY = 1000
"""Events that wait for a tracker; with 2000 events of a run, half of it."""
BATCH_S = 2.0
"""Time between two calls: a tracker is given what has come in the meantime at once."""
ALL = sys.maxsize
"""An iteration that no run reaches."""


class TrackerThread:
    """A tracker and the thread that calls it.

    Args:
        tracker: called by this thread alone.
        name: of the tracker, for messages.
        folder: of the run, which the thread reads.
        warn: called with one line about a failure, from this thread.
        capacity: events that may wait.
        batch_s: seconds between two calls.
    """

    def __init__(
        self,
        tracker: Tracker,
        name: str,
        folder: RunFolder,
        warn: Callable[[str], None],
        capacity: int = CAPACITY,
        batch_s: float = BATCH_S,
    ) -> None:
        self.tracker, self.name, self.folder, self.warn = tracker, name, folder, warn
        self.capacity, self.batch_s = capacity, batch_s
        self._changed = threading.Condition()
        self._events: deque[Mapping[str, Any]] = deque()
        self._history: int | None = None
        self._ending = self._has_history = False
        self._call = "open"
        self._warned: set[str] = set()
        self._failed = self._dropped = self._taken = 0
        self._time_s = 0.0
        # A daemon: Python does not wait for it when it exits.
        self._thread = threading.Thread(target=self._run, name=f"c2d-track-{name}", daemon=True)
        self._thread.start()

    def send_history(self, iteration: int) -> None:
        """Send the events of metrics.jsonl up to an iteration, before those that `put` gives."""
        with self._changed:
            self._history = iteration
            self._changed.notify()

    def put(self, event: Mapping[str, Any]) -> None:
        """Add an event to the queue, or count it as lost where the queue is full. Returns at once."""
        with self._changed:
            if len(self._events) >= self.capacity:
                self._dropped += 1
            else:
                self._events.append(event)
                self._changed.notify()

    def end(self) -> None:
        """Ask the thread to send what waits, then the outcome of the attempt, and to end."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def join(self, limit_s: float) -> str:
        """Wait for the thread, at most `limit_s` seconds; return what was lost as one line, "" for nothing."""
        self._thread.join(max(0.0, limit_s))
        hangs = self._thread.is_alive()
        if hangs:
            with suppress(Exception):
                self.tracker.abandon()
        with self._changed:
            waiting = len(self._events) + self._taken if hangs else 0
            lost = waiting + self._dropped + self._failed
        parts = [f"{self._dropped} found the queue full"] * bool(self._dropped)
        parts += [f"{self._failed} were in calls that failed"] * bool(self._failed)
        parts += [f"its call `{self._call}` did not return in time"] * hangs
        if not lost and not hangs:
            return ""
        what = f"{lost} events are" if lost else "the run is"
        where = "metrics.jsonl has all of them" if lost else f"send it again: c2d train {self.folder.id} --track ..."
        return f"--track {self.name}: {what} not in it{'' if lost else ', or not whole'} ({', '.join(parts)}); {where}"

    def _run(self) -> None:
        is_open = self._guard("open", lambda: self.tracker.open(read_tracked_run(self.folder)))
        # A call that failed may succeed later: a disk has space again, a server answers again.
        if not is_open or not self._guard("events", self._send_all):
            self._discard()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._ending or self._history is not None)
                if not self._ending and self._history is None:
                    self._changed.wait_for(lambda: self._ending, timeout=self.batch_s)
                events, history, ending = list(self._events), self._history, self._ending
                self._events.clear()
                self._history, self._taken = None, len(events)
            if ending and not self._has_history and history is None:
                history = ALL  # it ended before its first step
            if history is not None:
                self._has_history = True
                self._send([one for one in read_events(self.folder.metrics) if _iteration(one) <= history], count=False)
            self._send(events)
            self._taken = 0
            if ending:
                self._guard("finish", lambda: self.tracker.finish(read_outcome(self.folder)))
                return

    def _send(self, events: list[Mapping[str, Any]], count: bool = True) -> None:
        points = list(points_of(events, self._time_s or time.time()))
        if not points:
            return
        self._time_s = points[-1].time_s
        if not self._guard("log", lambda: self.tracker.log(points)) and count:
            self._failed += len(events)

    def _guard(self, call: str, body: Callable[[], None]) -> bool:
        """Call the tracker; report the first failure of each call."""
        self._call = call
        try:
            body()
        except BaseException as error:  # also a SystemExit of a package
            if call not in self._warned:
                self._warned.add(call)
                line = mask_text(f"{type(error).__name__}: {first_line(error)}")
                self.warn(f"--track {self.name}: {call} failed: {line}; the run goes on without it")
            return False
        return True

    def _discard(self) -> None:
        """Count what comes until the end; then there is nothing to send."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._ending)
                self._failed += len(self._events)
                self._events.clear()
                if self._ending:
                    return


def _iteration(event: Mapping[str, Any]) -> float:
    value = event.get("iteration")
    return float(value) if is_number(value) else float("inf")
