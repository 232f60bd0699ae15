"""Tasks -> job arrays: which tasks share an array, its size, and how many of them may run at once. No side effects.

Tasks with the same needs (parents, size, memory, hours, excluded nodes, canary, snapshot) share an array, in their
order. SLURM's throttle `%N` holds for one array only, so the cap of the sweep is divided: arrays that can run at the
same time are on different *lanes*, every lane begins with a number of slots, and together they never exceed the cap.
While jobs run, `sweeps.node.balance_arrays` gives slots that a lane no longer needs to the others.
Arrays of one lane run one after the other: the later one depends on all of the earlier one anyway, or by `afterany`.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweeps.launchers.job_names import array_name
from sweeps.launchers.launch_request import Task
from sweeps.scheduler.throttles import equal_parts


@dataclass(frozen=True)
class JobArray:
    """One sbatch call.

    Attributes:
        name: unique job name.
        tasks: in order; a single task is submitted as a plain job.
        afterok: ids of tasks that must succeed before this array starts.
        afterany: earlier arrays that must have ended, in any state: names of the same request, or submitted job ids.
        throttle: tasks of this array that may run at once, at first.
        shares_cap: other arrays take slots of the cap as well, and some tasks have to wait for a slot. Its jobs change
            the throttles when they start and end (`sweeps.node.balance_arrays`).
    """

    name: str
    tasks: tuple[Task, ...]
    afterok: tuple[str, ...] = ()
    afterany: tuple[str, ...] = ()
    throttle: int = 1
    shares_cap: bool = False


@dataclass
class _Lane:
    """Arrays (indices in the result) that run one after the other."""

    members: list[int] = field(default_factory=list)
    load: int = 0  # tasks
    need: int = 0  # tasks of its largest array: it cannot use more slots


def random_token() -> str:
    """Return 8 random hex digits."""
    return uuid.uuid4().hex[:8]


def job_arrays(
    tasks: Sequence[Task],
    sweep: str,
    cap: int,
    max_size: int,
    active: Iterable[tuple[str, int]] = (),
    token: Callable[[], str] = random_token,
) -> list[JobArray]:
    """Return the arrays, in an order in which they can be submitted.

    Args:
        tasks: each after those of them it waits for.
        cap: tasks of the sweep that may run at once.
        max_size: MaxArraySize; the largest index is one below it. 0 (arrays forbidden) makes plain jobs.
        active: (job id, throttle) of arrays of this sweep that still wait or run.
        token: returns a text that makes a job name unique.
    """
    chunks, busy = _chunks(tasks, max(1, max_size)), list(active)
    waited, slots = _free_slots(len(tasks), cap, busy)
    result: list[JobArray] = []
    lanes: list[_Lane] = []
    ended_before: list[set[int]] = []  # for every array: those that have ended when it starts
    where = {task.id: number for number, chunk in enumerate(chunks) for task in chunk}
    for number, chunk in enumerate(chunks):
        depends = chunk[0].after
        ended = _ended_arrays(depends, where, chunks, ended_before)
        # A lane whose last array has ended by then: the array needs no further dependency.
        lane = next((lane for lane in lanes if lane.members[-1] in ended), None)
        waits: tuple[str, ...] = ()
        if lane is None and len(lanes) < slots:
            lane, waits = _Lane(), waited
            lanes.append(lane)
        elif lane is None:
            # All slots are in use: the array waits for the lane with the fewest tasks.
            lane = min(lanes, key=lambda lane: lane.load)
            waits = (result[lane.members[-1]].name,)
            ended |= {lane.members[-1]} | ended_before[lane.members[-1]]
        lane.members.append(number)
        lane.load += len(chunk)
        lane.need = max(lane.need, len(chunk))
        ended_before.append(ended)
        result.append(JobArray(array_name(chunk, sweep, token()), tuple(chunk), depends, waits))
    shares_cap = len(result) + len(busy) > 1 and sum(map(len, chunks)) + sum(taken for _, taken in busy) > cap
    for lane, throttle in zip(lanes, equal_parts([lane.need for lane in lanes], slots), strict=True):
        for number in lane.members:
            result[number] = replace(result[number], throttle=throttle, shares_cap=shares_cap)
    return result


def _chunks(tasks: Sequence[Task], max_size: int) -> list[list[Task]]:
    """Group tasks with the same needs, groups in the order of their first task, and cut large groups.

    Parents stay first: all tasks of a group wait for the same parents, which come before its first task.
    """
    kinds: dict[tuple[object, ...], list[Task]] = {}
    for task in tasks:
        key = (task.after, task.size, task.mem_gb, task.hours, task.exclude, task.stop_after, task.snapshot)
        kinds.setdefault(key, []).append(task)
    return [chunk for kind in kinds.values() for chunk in _even(kind, -(-len(kind) // max_size))]


def _even(tasks: list[Task], parts: int) -> list[list[Task]]:
    """Cut into equal parts (the first ones have one more): the slots of a part that ends early stay empty."""
    ends = [len(tasks) // parts * part + min(part, len(tasks) % parts) for part in range(parts + 1)]
    return [tasks[start:end] for start, end in itertools.pairwise(ends)]


def _free_slots(count: int, cap: int, active: list[tuple[str, int]]) -> tuple[tuple[str, ...], int]:
    """Return (jobs to wait for, slots of the new arrays): the fewest jobs after which enough of the cap is free.

    New arrays keep their number of slots as long as they run. So they start at once if a quarter of the cap is free,
    and otherwise wait for the largest active arrays.
    """
    waited: list[str] = []
    free, enough = cap - sum(throttle for _, throttle in active), min(count, max(1, cap // 4))
    for job, throttle in sorted(active, key=lambda one: -one[1]):
        if free >= enough:
            break
        free += throttle
        waited.append(job)
    return tuple(waited), max(1, free)


def _ended_arrays(
    depends: tuple[str, ...], where: dict[str, int], chunks: list[list[Task]], ended_before: list[set[int]]
) -> set[int]:
    """Return the arrays that have ended once the tasks `depends` have succeeded."""
    ended: set[int] = set()
    for number in {where[parent] for parent in depends if parent in where}:
        ended |= ended_before[number]
        if {task.id for task in chunks[number]} <= set(depends):
            ended.add(number)
    return ended


def throttles(left: Mapping[str, int], waits: Mapping[str, str], cap: int) -> dict[str, int]:
    """Return {array: tasks that may run at once} of submitted arrays under another cap; at least 1 each.

    Args:
        left: {array: its waiting and running tasks}.
        waits: {array: value of its --dependency flag}; an array after all of another one shares its slots.
        cap: tasks that may run at once, of all arrays together.
    """
    lanes: list[list[str]] = []
    for array in sorted(left, key=int):
        ended = {job for part in re.findall(r"afterany:([0-9:]+)", waits.get(array, "")) for job in part.split(":")}
        lane = next((lane for lane in lanes if lane[-1] in ended), None)
        if lane is None:
            lanes.append(lane := [])
        lane.append(array)
    shares = equal_parts([max(left[array] for array in lane) for lane in lanes], cap)
    return {array: share for lane, share in zip(lanes, shares, strict=True) for array in lane}
