"""What a tracker does, and the plain values that it is given. Every call is made by the tracker's own thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from c2d.core.run_folder import RunFolder

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"


@dataclass(frozen=True)
class TrackedRun:
    """Facts of a run, which a tracker gets before the numbers.

    Attributes:
        folder: of the run.
        params: its spec, flattened: {`schedule.iterations`: 450}. Secrets are masked.
        tags: run id, sweep, seed, commit, host, jobs of every attempt, how earlier attempts ended.
    """

    folder: RunFolder
    params: dict[str, Any]
    tags: dict[str, str]


@dataclass(frozen=True)
class Point:
    """The numbers of one event.

    Attributes:
        step: iteration.
        time_s: seconds since the epoch.
        values: {name of the tracker: number}; see `c2d.tracking.metric_names`.
    """

    step: int
    time_s: float
    values: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        state: FINISHED, FAILED or INTERRUPTED.
        reason: one line; "" for a finished run.
        failure_class: of a failed run.
        iteration: the last one.
        results: final numbers of result.json under the names of the tracker, shares in 0-1.
        per_class: {class: {metric: number or None}}.
        tags: as in TrackedRun, at the end.
    """

    state: str
    reason: str = ""
    failure_class: str = ""
    iteration: int = 0
    results: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float | None]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Tracker(Protocol):
    """One tracker of one attempt. `open` first, `finish` last; any call may raise, and none may touch the run folder.

    An attempt that continues is given all earlier numbers of the run again, in their order: a tracker shows each of
    them once.
    """

    def open(self, run: TrackedRun) -> None:
        """Import the package, and find the run of an earlier attempt or make a new one."""

    def log(self, points: Sequence[Point]) -> None:
        """Store points, in the order of their steps."""

    def finish(self, outcome: Outcome) -> None:
        """Store the outcome and the final numbers, and release everything."""

    def abandon(self) -> None:
        """Release what a call that does not return holds; called by the main thread, and returns at once."""
