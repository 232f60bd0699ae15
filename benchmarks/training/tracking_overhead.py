"""Measure what trackers add to a training step: the CPU time of an event, and steps with and without each tracker.

`python -m benchmarks.training.tracking_overhead FOLDER`. Python runs one thread at a time, so the CPU time that the
threads of a tracker take in this process bounds what they take from the training; other programs do not disturb it.
Blocks of steps with and without a tracker, in turn, are the check of that bound; every step sends an event, as those of
a run of at most 2000 iterations do (a longer run sends fewer). `blocked` is a tracker whose calls take five seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.training.step import CASES, distilled_step
from c2d.core.curves.event_file import append_event
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.store_folder import RunStore
from c2d.tracking.metric_names import points_of
from c2d.tracking.tracked_run import read_tracked_run
from c2d.tracking.tracker import Outcome, Point, TrackedRun, Tracker
from c2d.tracking.tracker_option import parse_trackers
from c2d.tracking.tracker_thread import TrackerThread
from c2d.tracking.tracking import make_tracker

NONE, BLOCKED = "none", "blocked"
TRACKERS = ("tensorboard", "mlflow", "wandb", BLOCKED)
BLOCK_S, BATCH_S = 5.0, 0.25
EVENTS, EVENTS_A_CALL = 400, 8


class BlockedTracker:
    """A tracker whose every call takes BLOCK_S seconds."""

    def open(self, run: TrackedRun) -> None:
        """Wait."""
        time.sleep(BLOCK_S)

    def log(self, points: Sequence[Point]) -> None:
        """Wait."""
        time.sleep(BLOCK_S)

    def finish(self, outcome: Outcome) -> None:
        """Wait."""
        time.sleep(BLOCK_S)

    def abandon(self) -> None:
        """Do nothing."""


def measure_tracking(
    folder: Path, rounds: int = 20, steps: int = 10, threads: int = 1, trackers: Sequence[str] = TRACKERS
) -> dict[str, Any]:
    """Time blocks of steps in turn: without a tracker, with the first, without, with the second, ...

    Args:
        folder: for the events and what the trackers write.
        rounds: blocks of each tracker.
        steps: of a block.
        threads: CPU threads of torch.
        trackers: names.

    Returns:
        {kind, steps, threads, step_ms: {tracker: mean CPU ms of a step in each block}, ratios: {tracker: in each
        round, its block over the mean of the two without a tracker beside it}, put_us: {tracker: µs that the training
        waited, each event}, event_ms: {tracker: CPU ms of one event}, lost: lines}.
    """
    step = distilled_step(replace(CASES[1], batch=2), threads)
    event_ms = {name: _event_ms(folder / f"{name}-alone", name, step()) for name in trackers if name != BLOCKED}
    sends = {name: _thread(folder / name, name) for name in trackers}
    put_us: dict[str, list[float]] = {name: [] for name in trackers}
    iteration = 0

    def block(name: str) -> float:
        nonlocal iteration
        begin = time.process_time()
        for _ in range(steps):
            losses = step()
            iteration += 1
            event = {"event": "train", "iteration": iteration, "time": time.time(), "lr": 0.01, **losses}
            append_event(folder / "metrics.jsonl", event)
            if name in sends:
                before_put = time.perf_counter()
                sends[name].put(event)
                put_us[name].append(round(1e6 * (time.perf_counter() - before_put), 2))
        time.sleep(2 * BATCH_S)  # what was sent is stored within this block; sleep takes no CPU time
        return 1000 * (time.process_time() - begin) / steps

    for name in (NONE, *trackers):  # kernels are chosen, packages are imported, processes started
        block(name)
    time.sleep(BLOCK_S)
    step_ms: dict[str, list[float]] = {name: [] for name in (NONE, *trackers)}
    ratios: dict[str, list[float]] = {name: [] for name in trackers}
    before = block(NONE)
    for _ in range(rounds):
        for name in trackers:
            own, after = block(name), block(NONE)
            step_ms[name].append(round(own, 3))
            step_ms[NONE].append(round(after, 3))
            ratios[name].append(round(own / ((before + after) / 2), 5))
            before = after
    for thread in sends.values():
        thread.end()
    lost = [line for thread in sends.values() if (line := thread.join(BLOCK_S))]
    return {
        "kind": "tracking", "steps": steps, "threads": threads, "step_ms": step_ms, "ratios": ratios, "put_us": put_us,
        "event_ms": event_ms, "lost": lost,
    }  # fmt: skip


def markdown(record: Mapping[str, Any]) -> str:
    """Format the medians with the quartiles of the ratios."""
    lines = [
        "| tracker | an event, CPU ms | of a step, % | steps in turn: ratio | quartiles | wait of the training, µs |",
        "|---|---|---|---|---|---|",
    ]
    without = statistics.median(record["step_ms"][NONE])
    for name, ratios in record["ratios"].items():
        low, _, high = statistics.quantiles(ratios, n=4)
        cost, wait = record["event_ms"].get(name, 0.0), statistics.median(record["put_us"][name])
        ratio = f"{statistics.median(ratios):.3f} | {low:.3f} to {high:.3f}"
        lines.append(f"| {name} | {cost:.3f} | {100 * cost / without:.2f} | {ratio} | {wait:.0f} |")
    return "\n".join([*lines, "", f"A step takes {without:.0f} ms of CPU time."])


def _event_ms(folder: Path, name: str, losses: Mapping[str, float]) -> float:
    """Return the CPU ms of this process for one event, once the tracker is open."""
    run, tracker = _tracker(folder, name)
    tracker.open(read_tracked_run(run))
    events = [{"event": "train", "iteration": at, "time": time.time(), "lr": 0.01, **losses} for at in range(EVENTS)]
    tracker.log(list(points_of(events[:1], 0.0)))
    begin = time.process_time()
    for first in range(1, EVENTS, EVENTS_A_CALL):
        tracker.log(list(points_of(events[first : first + EVENTS_A_CALL], 0.0)))
    time.sleep(4 * BATCH_S)  # threads of its own
    cost_ms = 1000 * (time.process_time() - begin) / (EVENTS - 1)
    tracker.finish(Outcome("finished"))
    return round(cost_ms, 4)


def _tracker(folder: Path, name: str) -> tuple[RunFolder, Tracker]:
    run = RunFolder(folder / "run-0123456789ab-s0")
    atomic_write_json(run.spec, {"format": 1, "kind": "detector", "seed": 0})
    if name == BLOCKED:
        return run, BlockedTracker()
    (option,) = parse_trackers([name])
    return run, make_tracker(option, RunStore(folder))


def _thread(folder: Path, name: str) -> TrackerThread:
    run, tracker = _tracker(folder, name)
    return TrackerThread(tracker, name, run, print, batch_s=BATCH_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    found = measure_tracking(given.folder, given.rounds, given.steps, given.threads)
    atomic_write_json(given.folder / "tracking.json", found)
    print(markdown(found))
