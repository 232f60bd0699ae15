"""Read sweeps again and again and hand each view on, until all of them have ended. Nothing is launched or written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from c2d.core.errors import InputError, RunError
from c2d.core.printable import printable_line
from c2d.core.regular_file import Problem, error_text
from sweeps.state.plan import Row, read_plan
from sweeps.state.status import summarize
from sweeps.state.status_table import has_ended
from sweeps.watch.kept_reader import KeptReader
from sweeps.watch.view_of_sweep import sweep_view
from sweeps.watch.watch_view import SweepView, WatchView

LOAD = 10.0
"""A pause is at least so many times the CPU time of the reading before it: 50,000 runs are read less often."""


def _all_rows(rows: list[Row]) -> list[Row]:
    return rows


def _never(sweep: str) -> bool:
    return False


@dataclass
class WatchedSweeps:
    """The sweeps of one call, and what was read of them so far.

    Attributes:
        runs: the store.
        names: of submitted sweeps.
        choose: returns the rows that are shown.
        is_watched: whether a process submits the rest of a sweep, or retries its failures.
        reader: keeps what does not change.
    """

    runs: Path
    names: Sequence[str]
    choose: Callable[[list[Row]], list[Row]] = _all_rows
    is_watched: Callable[[str], bool] = _never
    reader: KeptReader = field(default_factory=KeptReader)

    def read(self, now: float) -> WatchView:
        """Return the view of now.

        Args:
            now: seconds since the epoch.

        Raises:
            InputError: a manifest that cannot be used, or a filter that fits no run.
        """
        return WatchView(tuple(self._read_sweep(name, now) for name in self.names), now, 0.0)

    def _read_sweep(self, name: str, now: float) -> SweepView:
        manifest = self.reader.manifest(self.runs, name)
        if isinstance(manifest, Problem):
            raise InputError(f"manifest {manifest.path} {manifest.message}; submit the sweep again")
        rows, facts = read_plan(manifest, self.runs, self.reader)
        summary = summarize(self.choose(rows), facts, now, name, self.reader)
        summary |= {"sweep": name, "question": manifest["question"]}
        # A failure that nobody retries is an end; who retries has marked the sweep.
        is_at_rest = has_ended({**summary, "retries": 0}) and not self.is_watched(name)
        return sweep_view(summary, self.runs, self.reader, is_at_rest)


def watch(
    sweeps: WatchedSweeps,
    show: Callable[[WatchView], object],
    every_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> WatchView:
    """Show a view at intervals until every sweep is at rest, and return the last one.

    A reading that fails after the first one leaves the view before it, with the reason: a store on a network file
    system may be away for a moment.

    Args:
        show: draws a view.
        every_s: seconds between two readings, at least.
        sleep, clock: replaced in tests.

    Raises:
        InputError: the first reading failed.
    """
    view: WatchView | None = None
    while True:
        began = time.process_time()
        try:
            view = sweeps.read(clock())
        except (RunError, InputError, OSError) as error:
            if view is None:
                raise
            message = error_text(error) if isinstance(error, OSError) else str(error)
            view = replace(view, problem=printable_line(message))
        if all(sweep.is_at_rest for sweep in view.sweeps) and not view.problem:
            show(view)
            return view
        pause_s = max(every_s, LOAD * (time.process_time() - began))
        view = replace(view, every_s=pause_s)
        show(view)
        sleep(pause_s)
