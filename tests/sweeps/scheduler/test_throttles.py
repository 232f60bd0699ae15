"""The cap of a sweep is used in full while arrays come and go, and never exceeded: by hand, and on a small SLURM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2d.core.run_folder import RunFolder
from sweeps.launchers.arrays import JobArray, job_arrays
from sweeps.launchers.launch_request import Task
from sweeps.scheduler.throttles import ArrayLoad, balanced_throttles, equal_parts


@pytest.mark.parametrize(
    ("needs", "slots", "parts"),
    [([5, 5], 10, [5, 5]), ([2, 20], 10, [2, 8]), ([20, 20, 20], 10, [3, 3, 4]), ([9], 4, [4]), ([], 3, [])],
)
def test_equal_parts(needs: list[int], slots: int, parts: list[int]) -> None:
    assert equal_parts(needs, slots) == parts


@pytest.mark.parametrize(
    ("loads", "cap", "throttles"),
    [
        # Two teachers train, their students wait: one slot is in reserve.
        ([ArrayLoad("1", 2, 0), ArrayLoad("2", 0, 0, blocked=40)], 8, {"1": 2, "2": 1}),
        # The teachers have ended: the first student has the reserved slot, then all of them have the cap.
        ([ArrayLoad("2", 1, 39)], 8, {"2": 8}),
        # One array is about to end: the other one takes what it leaves.
        ([ArrayLoad("1", 3, 0), ArrayLoad("2", 4, 30)], 8, {"1": 3, "2": 5}),
        # The first array runs more than its part: its slots come back one by one, none is given twice.
        ([ArrayLoad("1", 7, 30), ArrayLoad("2", 1, 30)], 8, {"1": 4, "2": 1}),
        ([ArrayLoad("1", 5, 30), ArrayLoad("2", 1, 30)], 8, {"1": 4, "2": 3}),
        # An array after all of another one needs nothing in reserve.
        ([ArrayLoad("1", 4, 4), ArrayLoad("2", 0, 0, 9, frozenset({"1"}))], 4, {"1": 4, "2": 1}),
        ([], 4, {}),
    ],
)
def test_throttles_by_hand(loads: list[ArrayLoad], cap: int, throttles: dict[str, int]) -> None:
    assert balanced_throttles(loads, cap) == throttles


@dataclass
class Queue:
    """SLURM's side of a sweep: arrays with a throttle, tasks that take time, dependencies."""

    arrays: list[JobArray]
    cap: int
    length: Callable[[str], int]
    throttles: dict[str, int] = field(default_factory=dict)
    running: dict[str, tuple[str, int]] = field(default_factory=dict)  # task -> array, end
    ended: set[str] = field(default_factory=set)
    now: int = 0

    def __post_init__(self) -> None:
        self.throttles = {array.name: array.throttle for array in self.arrays}

    def tasks(self, array: JobArray) -> list[str]:
        return [task.id for task in array.tasks if task.id not in self.ended and task.id not in self.running]

    def is_free(self, array: JobArray) -> bool:
        before = {one.name: {task.id for task in one.tasks} for one in self.arrays}
        needed = set(array.afterok).union(*(before[name] for name in array.afterany))
        return needed <= self.ended

    def count(self, array: JobArray, without: str = "") -> int:
        return sum(owner == array.name for task, (owner, _) in self.running.items() if task != without)

    def loads(self, ending: str = "") -> list[ArrayLoad]:
        found = []
        for array in self.arrays:
            waiting, running = len(self.tasks(array)), self.count(array, ending)
            if waiting or running:
                pending, blocked = (waiting, 0) if self.is_free(array) else (0, waiting)
                found.append(ArrayLoad(array.name, running, pending, blocked, frozenset(array.afterany)))
        return found

    def balance(self, ending: str = "") -> None:
        for is_raise in (False, True):  # as sweeps.node.balance_arrays does it
            for name, throttle in balanced_throttles(self.loads(ending), self.cap).items():
                if (throttle > self.throttles[name]) == is_raise:
                    self.throttles[name] = throttle

    def start(self) -> None:
        """Start what may start; every start is followed by its balance."""
        while True:
            free = [a for a in self.arrays if self.is_free(a) and self.tasks(a) and self.count(a) < self.limit(a)]
            if not free:
                return
            task = self.tasks(free[0])[0]
            self.running[task] = (free[0].name, self.now + self.length(task))
            self.balance()

    def limit(self, array: JobArray) -> int:
        return self.throttles[array.name] if len(array.tasks) > 1 else 1

    def end(self) -> None:
        """End the task that ends next; it balances before it is gone."""
        task = min(self.running, key=lambda one: (self.running[one][1], one))
        self.now = self.running[task][1]
        self.balance(ending=task)
        del self.running[task]
        self.ended.add(task)


def simulate(tasks: list[Task], cap: int, length: Callable[[str], int], max_size: int = 1001) -> list[tuple[int, int]]:
    """Run a sweep to its end; return (running tasks, tasks that could run) after every event.

    Slots in reserve for arrays that wait for a dependency count as running.
    """
    names = iter(range(1, 10_000))
    queue = Queue(job_arrays(tasks, "demo", cap, max_size, (), lambda: str(next(names))), cap, length)
    seen = []
    queue.start()
    while queue.running:
        loads = queue.loads()
        active = {load.job for load in loads if load.need}
        reserved = sum(not load.need and not load.follows & active for load in loads)
        assert len(queue.running) <= cap
        seen.append((len(queue.running) + reserved, sum(load.need for load in loads) + reserved))
        queue.end()
        queue.start()
    assert queue.ended == {task.id for task in tasks}
    return seen


def task(name: str, *after: str) -> Task:
    return Task(RunFolder(Path(name)), after)


def test_students_take_the_slots_of_teachers_and_of_baselines_that_have_ended() -> None:
    """12 baselines of 1 hour, 2 teachers of 2 hours with 20 students each of 3 hours, at most 8 at once."""
    tasks = [task("t0"), task("t1"), *(task(f"b{i}") for i in range(12))]
    tasks += [task(f"s{teacher}-{i}", f"t{teacher}") for teacher in range(2) for i in range(20)]
    seen = simulate(tasks, 8, lambda name: {"b": 1, "t": 2, "s": 3}[name[0]])
    assert all(used == min(8, could) for used, could in seen)
    assert sum(used == 8 for used, _ in seen) > 40


@given(
    students=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    baselines=st.integers(0, 20),
    cap=st.integers(7, 20),
    lengths=st.lists(st.integers(1, 9), min_size=5, max_size=5),
    max_size=st.sampled_from((5, 8, 1001)),
)
@settings(max_examples=60, deadline=None)
def test_the_cap_is_used_in_full_and_never_exceeded(
    students: list[int], baselines: int, cap: int, lengths: list[int], max_size: int
) -> None:
    teachers = [task(f"t{i}") for i in range(len(students))]
    tasks = [*teachers, *(task(f"b{i}") for i in range(baselines))]
    tasks += [task(f"s{teacher}-{i}", f"t{teacher}") for teacher, count in enumerate(students) for i in range(count)]
    for used, could in simulate(tasks, cap, lambda name: lengths[sum(map(ord, name)) % 5], max_size):
        assert used >= min(cap, could)
