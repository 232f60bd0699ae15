"""Times compared with known ones (a sleep, torch's own timer); the rule of warm-up on short sequences."""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.utils import benchmark

from benchmarks.latency import timing
from benchmarks.latency.timing import StoppingRule, is_steady, time_call

QUICK = StoppingRule(min_s=0.0, min_count=20, warm_s=0.0, warm_max_s=2.0)
TRIES = 6
"""A busy machine may spoil a few."""


def a_try_within(share: float, measure: Callable[[], tuple[float, float]]) -> bool:
    """Whether one of TRIES finds two times within `share` of each other."""
    for _ in range(TRIES):
        ours, theirs = measure()
        if abs(ours - theirs) <= share * theirs:
            return True
    return False


def test_a_known_sleep_is_recovered_within_two_percent() -> None:
    def measure() -> tuple[float, float]:
        return statistics.median(time_call(lambda: time.sleep(0.025), QUICK).samples_ms), 25.0

    assert a_try_within(0.02, measure)


def test_torchs_own_timer_agrees_within_three_percent() -> None:
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as torch's timer does
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3)).eval()
    image = torch.randn(1, 3, 128, 128)  # milliseconds: torch's timer itself takes 0.01
    timer = benchmark.Timer("model(image)", globals={"model": model, "image": image}, num_threads=1)
    one = StoppingRule(
        min_s=0.0, min_count=1, warm_s=0.0, warm_max_s=0.0
    )  # two calls of warm-up, as torch's timer does

    def measure() -> tuple[float, float]:
        ours, theirs = [], []
        for _ in range(150):  # in turn, so that both see the same machine
            ours += time_call(lambda: model(image), one).samples_ms
            theirs.append(1000 * timer.timeit(1).median)
        return statistics.median(ours), statistics.median(theirs)

    gc.freeze()  # collections between samples then cost nothing
    try:
        assert a_try_within(0.03, measure)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([10, 10, 10, 10, 10], False),  # two windows of three are six
        ([99, 50, 10, 10, 10, 10], False),  # medians 50 and 10
        ([99, 10, 10, 10, 10, 10], True),  # one slow first call does not move a median
        ([100, 100, 100, 105, 105, 105], True),  # 5 % is allowed
        ([100, 100, 100, 106, 106, 106], False),
        ([100, 100, 100, 94, 94, 94], False),  # still getting faster
        ([1, 1, 1, 50, 60, 70, 60, 60, 60], True),  # only the newest two windows count: 60 and 60
    ],
)
def test_the_rule_of_warm_up_by_hand(samples: list[float], expected: bool) -> None:
    assert is_steady(samples, window=3, tolerance=0.05) is expected


def fake_clock(times_ms: Iterator[float]) -> timing.Clock:
    """A clock that reads its times from a list."""

    def clock(call: Callable[[], object]) -> float:
        call()
        return next(times_ms)

    return clock


def test_warm_up_ends_when_steady_and_is_kept_apart() -> None:
    slow = [90.0, 50.0, 20.0]
    times = iter([*slow, *[10.0] * 6, *[11.0] * 20])
    taken = time_call(lambda: None, StoppingRule(min_s=0, min_count=20, window=3, warm_s=0), fake_clock(times))
    # windows of three: (90 50 20)(10 10 10) is not steady, (50 20 10)(10 10 10) neither, (20 10 10)(10 10 10) is
    assert taken.warm_up_ms == [*slow, *[10.0] * 5]
    assert taken.samples_ms == [10.0, *[11.0] * 19]
    assert taken.steady


def test_a_call_that_never_becomes_steady_is_reported() -> None:
    times = iter(float(2**index) for index in range(1000))
    taken = time_call(
        lambda: time.sleep(0.002), StoppingRule(0, 3, window=2, warm_s=0, warm_max_s=0.05), fake_clock(times)
    )
    assert not taken.steady
    assert len(taken.samples_ms) == 3


def test_time_and_count_are_both_the_least() -> None:
    long = time_call(lambda: time.sleep(0.001), StoppingRule(min_s=0.2, min_count=2, warm_s=0, warm_max_s=0))
    assert sum(long.samples_ms) > 100
    many = time_call(lambda: None, StoppingRule(min_s=0, min_count=500, warm_s=0, warm_max_s=0))
    assert len(many.samples_ms) == 500


@pytest.mark.parametrize(
    ("count", "passed_s", "enough"),
    [(100, 2.0, True), (99, 59.9, False), (100, 1.9, False), (10, 60.0, True), (9, 600.0, False)],
)
def test_a_slow_call_has_fewer_samples(count: int, passed_s: float, enough: bool) -> None:
    assert StoppingRule().enough(count, passed_s) is enough  # 100 samples and 2 s, or 10 samples and 60 s


def test_single_stream_begins_at_every_interval() -> None:
    begun: list[float] = []
    taken = time_call(lambda: begun.append(time.monotonic()), StoppingRule(0, 10, 2, 10.0, 0.0), interval_ms=20)
    gaps = [after - before for before, after in itertools.pairwise(begun)]
    assert 0.018 < statistics.median(gaps) < 0.024
    assert len(taken.samples_ms) == 10


def test_a_call_longer_than_its_interval_misses_some() -> None:
    taken = time_call(lambda: time.sleep(0.025), StoppingRule(0, 5, 2, 10.0, 0.0), interval_ms=10)
    assert taken.missed_intervals >= 5 * 2 - 2  # 25 ms run past two of 10 ms, every time
    assert statistics.median(taken.samples_ms) >= 25


def test_the_garbage_collector_is_disabled_and_restored() -> None:
    states: list[bool] = []
    time_call(lambda: states.append(gc.isenabled()), StoppingRule(0, 3, 2, 10.0, 0.0))
    assert states[-3:] == [False] * 3
    assert gc.isenabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("clock", [timing.device_event_ms, timing.synchronised_wall_ms])
def test_work_left_on_the_gpu_does_not_shrink_the_number(clock: timing.Clock) -> None:
    matrix = torch.randn(4096, 4096, device="cuda")

    def work() -> torch.Tensor:
        return matrix @ matrix

    alone = statistics.median(time_call(work, QUICK, clock).samples_ms)

    def queue_then(call: Callable[[], object]) -> float:
        for _ in range(5):
            work()
        return clock(call)

    assert abs(statistics.median(time_call(work, QUICK, queue_then).samples_ms) - alone) < 0.1 * alone
