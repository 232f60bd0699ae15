"""Submit a sweep in parts where the cluster limits the jobs of a user, and wait until its runs have ended.

Nothing is kept in this process alone: what is submitted is in the store, so the same command continues after Ctrl-C,
and two of them do not disturb each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from c2d.core.errors import Busy, RunError
from sweeps.actions.automatic_retries import retry_automatically, send_at_end
from sweeps.actions.submit import plan_sweep, resolve, submit_sweep
from sweeps.actions.tasks import rows_to_launch
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import Definition
from sweeps.definition.expand import Grid
from sweeps.launchers.launch_request import PrintLine
from sweeps.launchers.slurm import LIMIT_REACHED
from sweeps.launchers.snapshot import take_snapshot
from sweeps.notification.watch_mark import watched
from sweeps.state.plan import Row
from sweeps.state.status import summarize
from sweeps.state.status_table import has_ended, summary_lines

INTERVAL_S = 60.0
PARTS = 8
"""Where runs end as fast as they are submitted, the other work of the loop has its turn after so many parts."""
_OF_ONE_CALL = (LIMIT_REACHED, "submitted:", "nothing to launch")
"""Begins of lines about one call of the launcher."""


@dataclass
class Feeder:
    """Submits the runs of a sweep in parts. All parts have the code of the first one.

    Attributes:
        filters, canary, forward, print_line, print_run: see `sweeps.actions.submit.submit_sweep`.
        limit: most runs to submit; None: all.
        is_limited: SLURM has refused the last part because of a limit.
        full: runs that waited or ran when it did.
    """

    definition: Definition
    workspace: Workspace
    print_line: PrintLine
    print_run: PrintLine
    filters: Sequence[str] = ()
    limit: int | None = None
    canary: int | None = None
    forward: bool = True
    is_limited: bool = False
    full: int = 0
    _started: bool = field(default=False, repr=False)
    _printed: set[str] = field(default_factory=set, repr=False)

    @cached_property
    def _grid(self) -> Grid:
        return resolve(self.definition, self.workspace)

    @cached_property
    def _code(self) -> str:
        return take_snapshot(self.workspace.runs)

    def rows(self) -> list[Row]:
        """Return the plan of the sweep as it is now."""
        return plan_sweep(self.definition, self._grid, self.workspace.runs)[1]

    def left(self) -> int:
        """Return the number of runs that are not submitted, and match the filters."""
        return len(rows_to_launch(self.rows(), self.filters, None))

    def fill(self) -> None:
        """Submit parts until nothing is left or SLURM accepts no more, at most PARTS. They are smaller after a refusal.

        Raises:
            InputError: something is wrong with the sweep, or SLURM refuses it for another reason than a limit.
            RunError: SLURM does not answer, or refused a later part.
        """
        size = max(1, self.full - _active(self.rows())) if self.is_limited else None
        for _ in range(PARTS):
            left = self.left()
            if self._started and (not left or self.limit == 0):
                return
            self._submit(size if self.limit is None else min(size or self.limit, self.limit))
            sent = left - self.left()
            if self.limit is not None:
                self.limit -= sent
            if self.is_limited and not sent:
                self.full = _active(self.rows())
                return
            if not self.is_limited and (size is None or not sent):
                return  # what is left now cannot be launched, as the printed lines say
            size = sent if self.is_limited else 2 * (size or sent)

    def _submit(self, size: int | None) -> None:
        self.is_limited = False

        def print_line(line: str) -> None:
            self.is_limited = self.is_limited or line.startswith(LIMIT_REACHED)
            is_repeated = line.startswith("warning:") and line in self._printed
            self._printed.add(line)
            if not line.startswith(_OF_ONE_CALL) and not is_repeated:
                self.print_line(line)

        submit_sweep(
            self.definition,
            self.workspace,
            filters=self.filters,
            limit=size,
            canary=None if self._started else self.canary,
            forward=self.forward,
            check=not self._started,
            code=lambda: self._code,
            print_line=print_line,
            print_run=(lambda line: None) if self._started else self.print_run,
        )
        self._started = True


def submit_and_wait(feeder: Feeder, interval_s: float = INTERVAL_S, sleep: Callable[[float], None] = time.sleep) -> int:
    """Submit every run as far as the cluster's limits allow, go on with the rest, and return when all have ended.

    Infrastructure failures are retried as `status --watch` does. While SLURM or the store's lock does not answer, it
    waits.

    Args:
        interval_s: seconds between two looks at the queue.
        sleep: replaced in tests.

    Returns:
        0 when every run is done, 1 when some failed, are blocked, or could not be launched.

    Raises:
        InputError: as `Feeder.fill`.
    """
    name, workspace, said = feeder.definition.name, feeder.workspace, ""

    def print_new(line: str) -> None:
        nonlocal said
        if line != said:  # the same state again and again is one line
            feeder.print_line(line)
        said = line

    try:
        with watched(workspace.runs, name, sleep) as sleep_watched:
            while True:
                try:
                    feeder.fill()
                    rows, facts = retry_automatically(workspace, name, feeder.filters, feeder.print_line)
                    summary = summarize(rows, facts, time.time(), name)
                    if has_ended(summary) and not feeder.is_limited:
                        break
                    counts = ", ".join(f"{count} {state}" for state, count in summary["counts"].items())
                    limit = "; SLURM accepts no more of your jobs now, the rest follows" if feeder.is_limited else ""
                    print_new(f"{counts}{limit}")
                except (RunError, Busy) as error:  # a controller or a lock that does not answer now does so later
                    print_new(f"warning: {error}; next try in {interval_s:g} s")
                sleep_watched(max(0.2, interval_s))
    except KeyboardInterrupt:  # the submitted jobs continue, and nothing here sees their end
        send_at_end(workspace, name, feeder.print_line, sleep, pauses=())
        raise
    for line in summary_lines(summary):
        feeder.print_line(line)
    send_at_end(workspace, name, feeder.print_line, sleep)
    return int(any(row.state not in _well(feeder) for row in rows))


def _active(rows: Sequence[Row]) -> int:
    return sum(row.state in ("waiting", "running") and not row.launch for row in rows)


def _well(feeder: Feeder) -> tuple[str, ...]:
    """Return the states of runs with which the exit code is 0: with a limit, some are never submitted."""
    return ("done",) if feeder.limit is None else ("done", "new", "waiting")
