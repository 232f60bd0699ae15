"""What `c2d sweep watch` shows, as plain data: the terminal and the page draw the same `WatchView`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class WatchRow:
    """One run. Unknown numbers are None.

    Attributes:
        labels: of the axes of its sweep; of a run without a cell, what it is.
        more_cells: further cells that the run fills.
        seed: "" without a cell.
        state: as in `c2d sweep status`: running, finishing, unknown, done, failed or damaged.
        is_stale: its heartbeat is old.
        iteration, iterations: done and planned.
        stage: of a running run: fit, evaluate, ...
        losses: means of the sum of the loss terms over equal parts of the iterations so far; NaN where one was not
            finite.
        loss: the last logged one; NaN where it was not finite.
        score_name, score: AP (0-1) of the last evaluation, or AP or top-1 of the result.
        is_final: the score is that of the exported student.
        step_s: seconds per iteration, evaluations included.
        left_s: to the last iteration.
        hours, expected_hours: GPU hours so far, and when it has ended; wall hours of a run without a GPU.
        reason: why it is in its state.
        place: of a running run: its job and node, or its host.
        heartbeat_age_s: of a running run.
        ended: when it ended, seconds since the epoch.
    """

    run: str
    labels: tuple[str, ...]
    more_cells: int
    seed: str
    state: str
    is_stale: bool = False
    iteration: int | None = None
    iterations: int | None = None
    stage: str = ""
    losses: tuple[float, ...] = ()
    loss: float | None = None
    score_name: str = "AP"
    score: float | None = None
    is_final: bool = False
    step_s: float | None = None
    left_s: float | None = None
    hours: float = 0.0
    expected_hours: float | None = None
    reason: str = ""
    place: str = ""
    heartbeat_age_s: float | None = None
    ended: float | None = None

    @property
    def share(self) -> float | None:
        """Done part of the iterations, 0-1."""
        return min(1.0, (self.iteration or 0) / self.iterations) if self.iterations else None


@dataclass(frozen=True)
class WaitingGroup:
    """Runs that wait, or are blocked, for one reason.

    Attributes:
        state: new, waiting, unknown or blocked.
        next_start: the earliest start that SLURM expects, seconds since the epoch; None where it gives none.
    """

    state: str
    count: int
    reason: str
    next_start: float | None = None


@dataclass(frozen=True)
class SweepView:
    """One sweep.

    Attributes:
        axes: names of the axes whose labels differ between runs, in the order of `WatchRow.labels`.
        counts: {state: number of runs}.
        running, failed, done: rows; running in the order of the sweep, failed and done the newest first. Each list may
            be shorter than its count.
        waiting: groups, the largest first.
        unit: "GPU hours", or "hours" where no run has a GPU.
        hours, hours_wasted, hours_expected: in this unit, of all runs.
        left_s: until the last run has ended; None if unknown.
        warnings: what a person should know or do, one line each.
        is_at_rest: nothing runs or waits in a queue.
        retries: failed runs that `status --watch` would retry.
    """

    name: str
    question: str
    axes: tuple[str, ...]
    counts: Mapping[str, int]
    running: tuple[WatchRow, ...]
    failed: tuple[WatchRow, ...]
    done: tuple[WatchRow, ...]
    waiting: tuple[WaitingGroup, ...]
    unit: str
    hours: float
    hours_wasted: float
    hours_expected: float | None
    left_s: float | None
    warnings: tuple[str, ...]
    is_at_rest: bool
    retries: int = 0

    @property
    def n_runs(self) -> int:
        """Number of all runs."""
        return sum(self.counts.values())

    @property
    def has_failed(self) -> bool:
        """Whether `c2d sweep status` ends with 1."""
        return any(self.counts.get(state) for state in ("failed", "blocked", "damaged"))


@dataclass(frozen=True)
class WatchView:
    """All sweeps of one call.

    Attributes:
        made: seconds since the epoch when the files were read.
        every_s: seconds to the next view; 0: there is none, the watch has ended.
        problem: why the newest reading failed, which left this view; "" if it did not.
    """

    sweeps: tuple[SweepView, ...]
    made: float
    every_s: float
    problem: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether `c2d sweep status` of one of the sweeps ends with 1."""
        return any(sweep.has_failed for sweep in self.sweeps)
