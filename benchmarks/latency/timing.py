"""Time one call and return every sample in ms.

Warm up until two consecutive windows have medians within `tolerance`; then measure until `min_count` samples and
`min_s` seconds are reached. A call that is too slow for that has fewer samples after `max_s`, at least MIN_SAMPLES.
This file computes no statistic of the samples.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Clock = Callable[[Callable[[], Any]], float]
"""Runs a call once and returns its duration in ms."""

MIN_SAMPLES = 10


@dataclass(frozen=True)
class StoppingRule:
    """When the warm-up ends, and when samples suffice.

    Attributes:
        min_s, min_count: seconds and samples that are both required.
        window: calls in each of the two windows of the warm-up.
        tolerance: allowed difference of their medians, relative to the earlier one.
        warm_s: minimum seconds of warm-up.
        warm_max_s: seconds after which a call is measured although it is not steady.
        max_s: seconds after which MIN_SAMPLES samples suffice.
    """

    min_s: float = 2.0
    min_count: int = 100
    window: int = 5
    tolerance: float = 0.05
    warm_s: float = 0.2
    warm_max_s: float = 30.0
    max_s: float = 60.0

    def enough(self, count: int, elapsed_s: float) -> bool:
        """Return whether `count` samples in `elapsed_s` seconds suffice."""
        reached = count >= self.min_count and elapsed_s >= self.min_s
        return reached or (count >= MIN_SAMPLES and elapsed_s >= self.max_s)


@dataclass(frozen=True)
class CallSamples:
    """Samples of one call.

    Attributes:
        samples_ms: in the order of the calls.
        warm_up_ms: of the calls before them.
        steady: whether the warm-up ended with steady medians.
        missed_intervals: intervals that a call ran past.
    """

    samples_ms: list[float]
    warm_up_ms: list[float]
    steady: bool
    missed_intervals: int = 0


def is_steady(samples_ms: Sequence[float], window: int, tolerance: float) -> bool:
    """Return whether the last two windows have the same median within `tolerance`, relative to the earlier one."""
    if len(samples_ms) < 2 * window:
        return False
    before = statistics.median(samples_ms[-2 * window : -window])
    return abs(statistics.median(samples_ms[-window:]) - before) <= tolerance * before


def wall_ms(call: Callable[[], Any]) -> float:
    """Time a call by the processor's clock, in ms."""
    begin = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begin)


def synchronised_wall_ms(call: Callable[[], Any]) -> float:
    """Time a call by the processor's clock, in ms, with the GPU idle before and after."""
    import torch

    torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin)


def device_event_ms(call: Callable[[], Any]) -> float:
    """Time what a call queues on the GPU by two of its events, in ms; earlier work is waited for first."""
    import torch

    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    # CUDA defines the time between two events only after both have happened, hence the synchronisation above.
    return float(begin.elapsed_time(end))


def time_call(
    call: Callable[[], Any], rule: StoppingRule, clock: Clock = wall_ms, interval_ms: float | None = None
) -> CallSamples:
    """Time repeated calls, in a closed loop or at fixed intervals, with the garbage collector off.

    Args:
        call: one unit of work.
        rule: when to stop.
        clock: times one call.
        interval_ms: begin a call at every multiple of it, in the warm-up as well, so that processor and GPU idle in
            between as in an application. After a call that runs past its interval, the next begins at the next
            multiple. None: one call after the other.
    """
    was_enabled = gc.isenabled()
    # A collection in the middle of a call would be part of its sample.
    gc.collect()
    gc.disable()
    try:
        wait = _IntervalWait(interval_ms)
        warm_up, steady = _warm_up(call, rule, clock, wait)
        samples: list[float] = []
        # Intervals that the warm-up has missed do not count.
        missed_before = wait.missed
        begin = time.monotonic()
        while not rule.enough(len(samples), time.monotonic() - begin):
            wait()
            samples.append(clock(call))
    finally:
        if was_enabled:
            gc.enable()
    return CallSamples(samples, warm_up, steady, wait.missed - missed_before)


def _warm_up(
    call: Callable[[], Any], rule: StoppingRule, clock: Clock, wait: Callable[[], None]
) -> tuple[list[float], bool]:
    """Return (ms of each call, whether it became steady); two calls at least."""
    samples: list[float] = []
    begin = time.monotonic()
    while True:
        elapsed = time.monotonic() - begin
        if elapsed >= rule.warm_s and is_steady(samples, rule.window, rule.tolerance):
            return samples, True
        if elapsed >= rule.warm_max_s and len(samples) >= 2:
            return samples, False
        wait()
        samples.append(clock(call))


class _IntervalWait:
    """Sleep until the next multiple of an interval after the first call; without an interval do nothing."""

    def __init__(self, interval_ms: float | None) -> None:
        self.interval_s = None if interval_ms is None else interval_ms / 1000
        self.begin: float | None = None
        self.turn = 0
        self.missed = 0

    def __call__(self) -> None:
        if self.interval_s is None:
            return
        now = time.monotonic()
        if self.begin is None:
            self.begin = now
            return
        # After an overrun the grid of multiples stays; only whole intervals are skipped.
        due = max(self.turn + 1, math.ceil((now - self.begin) / self.interval_s))
        self.missed += due - self.turn - 1
        self.turn = due
        if (left := self.begin + due * self.interval_s - time.monotonic()) > 0:
            time.sleep(left)
