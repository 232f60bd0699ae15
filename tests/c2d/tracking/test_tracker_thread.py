"""The thread around a tracker: it never waits, never raises, counts what is lost, and ends in time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from c2d.core.attempt import Interrupted
from c2d.core.curves.event_file import append_event
from c2d.core.run_folder import RunFolder
from c2d.tracking import tracking
from c2d.tracking.tracker import Outcome, Point, TrackedRun
from c2d.tracking.tracker_option import TrackerOption
from c2d.tracking.tracker_thread import TrackerThread
from tests.c2d.tracking.tracked_folder import end_run, new_run, train_event


class StandIn:
    """A tracker in memory. `failing` calls raise; `hanging` calls return when `released` is set."""

    def __init__(self, failing: Sequence[str] = (), hanging: Sequence[str] = ()) -> None:
        self.failing, self.hanging = failing, hanging
        self.entered, self.released, self.abandoned = threading.Event(), threading.Event(), False
        self.run: TrackedRun | None = None
        self.points: list[Point] = []
        self.outcome: Outcome | None = None

    def _call(self, name: str) -> None:
        if name in self.hanging:
            self.entered.set()
            self.released.wait(30)
        if name in self.failing:
            raise OSError(28, "No space left; password=hunter22")

    def open(self, run: TrackedRun) -> None:
        self._call("open")
        self.run = run

    def log(self, points: Sequence[Point]) -> None:
        self._call("log")
        self.points += points

    def finish(self, outcome: Outcome) -> None:
        self._call("finish")
        self.outcome = outcome

    def abandon(self) -> None:
        self.abandoned = True
        self._call("abandon")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return new_run(tmp_path / "runs")


def start(folder: RunFolder, stand_in: StandIn, warnings: list[str], capacity: int = 1000) -> TrackerThread:
    return TrackerThread(stand_in, "stand-in", folder, warnings.append, capacity, batch_s=0.01)


def test_all_events_arrive_in_order_with_the_history_first(folder: RunFolder) -> None:
    for iteration in (1, 2, 3):  # 3 was written after the last checkpoint
        append_event(folder.metrics, train_event(iteration))
    stand_in, warnings = StandIn(), list[str]()
    thread = start(folder, stand_in, warnings)
    thread.send_history(2)
    for iteration in (3, 4, 5):
        thread.put(train_event(iteration))
    end_run(folder, "done")
    thread.end()
    assert thread.join(10) == ""
    assert [point.step for point in stand_in.points] == [1, 2, 3, 4, 5]
    assert stand_in.run is not None
    assert stand_in.run.tags["c2d.state"] == "running"
    assert stand_in.outcome is not None
    assert (stand_in.outcome.state, stand_in.outcome.iteration) == ("finished", 6)
    assert stand_in.outcome.results["result/AP"] == 0.25
    assert not warnings


def test_a_run_that_ends_before_its_first_step_keeps_its_history(folder: RunFolder) -> None:
    append_event(folder.metrics, train_event(1))
    stand_in = StandIn()
    thread = start(folder, stand_in, [])
    end_run(folder, "waiting")
    thread.end()
    assert thread.join(10) == ""
    assert [point.step for point in stand_in.points] == [1]
    assert stand_in.outcome is not None
    assert stand_in.outcome.state == "interrupted"


@pytest.mark.parametrize(
    ("failing", "lost", "arrived"), [("open", "3 events", 0), ("log", "3 events", 0), ("finish", "", 3)]
)
def test_an_exception_in_a_call_is_one_warning(folder: RunFolder, failing: str, lost: str, arrived: int) -> None:
    stand_in, warnings = StandIn(failing=[failing]), list[str]()
    thread = start(folder, stand_in, warnings)
    thread.send_history(0)
    for iteration in (1, 2, 3):
        thread.put(train_event(iteration))
    end_run(folder, "done")
    thread.end()
    found = thread.join(10)
    assert lost in found
    assert bool(lost) == bool(found)
    assert len(stand_in.points) == arrived
    assert warnings[0].startswith(f"--track stand-in: {failing} failed: OSError")
    assert len(warnings) == 1
    assert "hunter22" not in warnings[0]


def test_a_tracker_that_works_again_gets_what_follows(folder: RunFolder) -> None:
    stand_in, warnings = StandIn(failing=["log"]), list[str]()
    thread = start(folder, stand_in, warnings)
    thread.send_history(0)
    thread.put(train_event(1))
    while not warnings:
        time.sleep(0.01)
    stand_in.failing = []
    for iteration in (2, 3):
        thread.put(train_event(iteration))
    thread.end()
    assert "1 events are not in it (1 were in calls that failed)" in thread.join(10)
    assert [point.step for point in stand_in.points] == [2, 3]
    assert len(warnings) == 1
    assert stand_in.outcome is not None


@pytest.mark.parametrize("event", [{"iteration": float("inf"), "loss": 1.0}, {"iteration": "x"}, {"loss": 1.0}, {}])
def test_an_event_of_another_form_ends_nothing(folder: RunFolder, event: dict[str, object]) -> None:
    stand_in, warnings = StandIn(), list[str]()
    thread = start(folder, stand_in, warnings)
    thread.send_history(0)
    thread.put(event)
    thread.end()
    thread.join(10)
    assert not stand_in.points
    assert len(warnings) == (event.get("iteration") == float("inf"))


def test_a_full_queue_drops_and_counts_without_waiting(folder: RunFolder) -> None:
    stand_in = StandIn(hanging=["log"])
    thread = start(folder, stand_in, [], capacity=5)
    thread.put(train_event(1))
    assert stand_in.entered.wait(5)
    begin = time.perf_counter()
    for iteration in range(2, 1002):
        thread.put(train_event(iteration))
    assert time.perf_counter() - begin < 30
    stand_in.released.set()
    thread.end()
    assert "995 events are not in it (995 found the queue full)" in thread.join(10)
    assert [point.step for point in stand_in.points] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("hanging", ["open", "log", "finish"])
def test_a_call_that_never_returns_is_left_behind(folder: RunFolder, hanging: str) -> None:
    stand_in = StandIn(hanging=[hanging], failing=["abandon"])
    thread = start(folder, stand_in, [])
    thread.put(train_event(1))
    thread.end()
    begin = time.monotonic()
    lost = thread.join(0.2)
    assert time.monotonic() - begin < 30
    what = "the run is not in it, or not whole" if hanging == "finish" else "1 events are not in it"
    assert f"{what} (its call `{hanging}` did not return" in lost
    assert stand_in.abandoned
    stand_in.released.set()


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (None, 4.0),
        (RuntimeError("bad"), 4.0),
        (Interrupted("stop", by="SIGTERM"), 0.1),
        (Interrupted("as asked", planned=True), 4.0),
    ],
)
def test_the_limit_depends_on_how_the_attempt_ended(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, limit: float
) -> None:
    """And all trackers share it; each line is in log.txt once."""
    monkeypatch.setattr(tracking, "FINISH_S", 4.0)
    monkeypatch.setattr(tracking, "STOP_S", 0.1)
    monkeypatch.setattr(tracking, "make_tracker", lambda option, store: StandIn())
    limits: list[float] = []

    def join(self: TrackerThread, limit_s: float) -> str:
        limits.append(limit_s)
        return f"{self.name}: lost, token=abcdef123"

    monkeypatch.setattr(TrackerThread, "join", join)
    options = (TrackerOption("tensorboard"), TrackerOption("mlflow"))
    raised = pytest.raises(type(error)) if error is not None else nullcontext()
    with raised, tracking.Tracking(folder, options, quiet=True) as made:
        made.start(logging.getLogger("test"))
        if error is not None:
            raise error
    assert limits == [pytest.approx(limit, abs=0.05)] * 2
    log = folder.log.read_text()
    assert log.count("lost") == 2
    assert "abcdef123" not in log


def test_without_trackers_nothing_happens(folder: RunFolder) -> None:
    before = threading.active_count()
    with tracking.Tracking(folder) as made:
        made.start()
        made.continue_after(0)
        made.send(train_event(1))
        assert threading.active_count() == before
    assert not folder.log.exists()
