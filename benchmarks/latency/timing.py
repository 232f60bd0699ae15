"""Samples of one call in ms: warm up until steady, then at least so long and so often, every sample kept. A call that
is too slow for so many samples in `Rule.max_s` has fewer, at least `FEW`.

Steady means: after at least `Rule.warm_s` seconds, the median of the newest `window` calls is within `tolerance` of
the median of the `window` calls before. A call that is not steady after `warm_max_s` is measured as it is, and
`Taken.steady` says so. The garbage collector rests meanwhile. No statistic leaves this file.
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


FEW = 10


@dataclass(frozen=True)
class Rule:
    """When a call counts as warm, and when samples are enough: `min_count` at least, in `min_s` seconds at least, but
    after `max_s` the first `FEW` suffice."""

    min_s: float = 2.0
    min_count: int = 100
    window: int = 5
    tolerance: float = 0.05
    warm_s: float = 0.2
    warm_max_s: float = 30.0
    max_s: float = 60.0

    def enough(self, count: int, passed_s: float) -> bool:
        """Whether so many samples in so many seconds are."""
        return (count >= self.min_count and passed_s >= self.min_s) or (count >= FEW and passed_s >= self.max_s)


@dataclass(frozen=True)
class Taken:
    """samples_ms: in the order taken. warm_up_ms: the calls before them. missed: intervals that a call ran past."""

    samples_ms: list[float]
    warm_up_ms: list[float]
    steady: bool
    missed: int = 0


def steady(samples_ms: Sequence[float], window: int, tolerance: float) -> bool:
    """Whether the newest two windows have the same median within `tolerance`, as a share of the earlier one."""
    if len(samples_ms) < 2 * window:
        return False
    before = statistics.median(samples_ms[-2 * window : -window])
    return abs(statistics.median(samples_ms[-window:]) - before) <= tolerance * before


def wall(call: Callable[[], Any]) -> float:
    """By the processor's clock."""
    begun = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begun)


def wall_synchronised(call: Callable[[], Any]) -> float:
    """By the processor's clock, between two moments at which the GPU has nothing left to do."""
    import torch

    torch.cuda.synchronize()
    begun = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begun)


def device_events(call: Callable[[], Any]) -> float:
    """By two events of the GPU around what the call queues; work left over from before is waited for first."""
    import torch

    begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begun.record()
    call()
    ended.record()
    torch.cuda.synchronize()
    return float(begun.elapsed_time(ended))


def take(call: Callable[[], Any], rule: Rule, clock: Clock = wall, interval_ms: float | None = None) -> Taken:
    """Samples of `call`, one after the other, or begun at every multiple of `interval_ms`.

    At intervals the processor and the GPU idle in between, as they do in an application; where a call outlasts its
    interval, the next begins at the next multiple. The warm-up keeps the same intervals.
    """
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        pause = _Pause(interval_ms)
        warm, found = _warm_up(call, rule, clock, pause)
        samples: list[float] = []
        missed = pause.missed
        begun = time.monotonic()
        while not rule.enough(len(samples), time.monotonic() - begun):
            pause()
            samples.append(clock(call))
    finally:
        if collecting:
            gc.enable()
    return Taken(samples, warm, found, pause.missed - missed)


def _warm_up(call: Callable[[], Any], rule: Rule, clock: Clock, pause: Callable[[], None]) -> tuple[list[float], bool]:
    """(ms of each call, whether it became steady); two calls at least."""
    warm: list[float] = []
    begun = time.monotonic()
    while True:
        passed = time.monotonic() - begun
        if passed >= rule.warm_s and steady(warm, rule.window, rule.tolerance):
            return warm, True
        if passed >= rule.warm_max_s and len(warm) >= 2:
            return warm, False
        pause()
        warm.append(clock(call))


class _Pause:
    """Sleeps until the next multiple of an interval after the first call; does nothing without one."""

    def __init__(self, interval_ms: float | None) -> None:
        self.interval_s = None if interval_ms is None else interval_ms / 1000
        self.begun: float | None = None
        self.turn = 0
        self.missed = 0

    def __call__(self) -> None:
        if self.interval_s is None:
            return
        now = time.monotonic()
        if self.begun is None:
            self.begun = now
            return
        due = max(self.turn + 1, math.ceil((now - self.begun) / self.interval_s))
        self.missed += due - self.turn - 1
        self.turn = due
        if (left := self.begun + due * self.interval_s - time.monotonic()) > 0:
            time.sleep(left)
