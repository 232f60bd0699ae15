"""Tasks -> job arrays: who shares an array, how large one may be, and how many may run at once. Pure.

Tasks that ask for the same (parents, size, memory, hours, nodes to avoid, canary) share an array, in their order.
SLURM's throttle `%N` holds for one array only, so the cap of the sweep is shared out: arrays that can run at the same
time lie on different *lanes*, every lane has a fixed number of places, and the places together never exceed the cap.
Arrays on one lane run one after the other: because the later one depends on all of the earlier one anyway, or else by
`afterany`.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sweeps.launchers.launch_request import Task


@dataclass(frozen=True)
class Array:
    """One sbatch call.

    tasks: in order; a single task is submitted as a plain job.
    depends: ids of tasks that must end well before this array starts (afterok).
    waits: names of earlier arrays of the same order, or job ids of arrays already submitted, that must be over,
        however they ended (afterany).
    throttle: tasks of this array that may run at once.
    """

    name: str
    tasks: tuple[Task, ...]
    depends: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    throttle: int = 1


@dataclass
class _Lane:
    """Arrays (places in the result) that run one after the other."""

    members: list[int] = field(default_factory=list)
    load: int = 0  # tasks
    need: int = 0  # tasks of its largest array: more places are of no use


def random_token() -> str:
    return uuid.uuid4().hex[:8]


def arrays(
    tasks: Sequence[Task],
    sweep: str,
    cap: int,
    max_size: int,
    active: Iterable[tuple[str, int]] = (),
    token: Callable[[], str] = random_token,
) -> list[Array]:
    """Arrays in an order in which they can be submitted.

    Args:
        tasks: each after those of them it waits for.
        cap: tasks of the sweep that may run at once.
        max_size: MaxArraySize; the largest index is one below it. 0 (arrays forbidden) makes plain jobs.
        active: (job id, throttle) of arrays of this sweep that still wait or run.
        token: what makes a name unique.
    """
    chunks = _chunks(tasks, max(1, max_size))
    waited, places = _places(len(tasks), cap, list(active))
    prefix = f"c2d-{re.sub(r'[^A-Za-z0-9_.-]+', '-', sweep)}-"
    result: list[Array] = []
    lanes: list[_Lane] = []
    behind: list[set[int]] = []  # for every array those that are over when it starts
    where = {task.id: number for number, chunk in enumerate(chunks) for task in chunk}
    for number, chunk in enumerate(chunks):
        depends = chunk[0].after
        over = _all_over(depends, where, chunks, behind)
        lane = next((lane for lane in lanes if lane.members[-1] in over), None)
        waits: tuple[str, ...] = ()
        if lane is None and len(lanes) < places:
            lane, waits = _Lane(), waited
            lanes.append(lane)
        elif lane is None:
            lane = min(lanes, key=lambda lane: lane.load)
            waits = (result[lane.members[-1]].name,)
            over |= {lane.members[-1]} | behind[lane.members[-1]]
        lane.members.append(number)
        lane.load += len(chunk)
        lane.need = max(lane.need, len(chunk))
        behind.append(over)
        result.append(Array(prefix + token(), tuple(chunk), depends, waits))
    for lane, throttle in zip(lanes, _shares([lane.need for lane in lanes], places), strict=True):
        for number in lane.members:
            result[number] = replace(result[number], throttle=throttle)
    return result


def _chunks(tasks: Sequence[Task], max_size: int) -> list[list[Task]]:
    """Tasks of one kind together, kinds in the order of their first task.

    That keeps parents first: all tasks of a kind wait for the same parents, and these come before its first task.
    """
    kinds: dict[tuple[object, ...], list[Task]] = {}
    for task in tasks:
        key = (task.after, task.size, task.mem_gb, task.hours, task.exclude, task.stop_after, task.snapshot)
        kinds.setdefault(key, []).append(task)
    return [chunk for kind in kinds.values() for chunk in _even(kind, -(-len(kind) // max_size))]


def _even(tasks: list[Task], parts: int) -> list[list[Task]]:
    """Equal parts, one more in the first ones: places of a part that ends early would stay empty."""
    ends = [len(tasks) // parts * part + min(part, len(tasks) % parts) for part in range(parts + 1)]
    return [tasks[start:end] for start, end in itertools.pairwise(ends)]


def _places(count: int, cap: int, active: list[tuple[str, int]]) -> tuple[tuple[str, ...], int]:
    """(jobs to wait for, places for the new arrays): the fewest jobs after which a fair part of the cap is free.

    A few places beside a full array would be kept for as long as the new arrays last; a quarter of the cap is worth
    having at once, less is worth waiting for the largest of the active arrays.
    """
    waited: list[str] = []
    free, enough = cap - sum(throttle for _, throttle in active), min(count, max(1, cap // 4))
    for job, throttle in sorted(active, key=lambda one: -one[1]):
        if free >= enough:
            break
        free += throttle
        waited.append(job)
    return tuple(waited), max(1, free)


def _all_over(
    depends: tuple[str, ...], where: dict[str, int], chunks: list[list[Task]], behind: list[set[int]]
) -> set[int]:
    """Arrays of which nothing can run any more once `depends` have ended well."""
    over: set[int] = set()
    for number in {where[parent] for parent in depends if parent in where}:
        over |= behind[number]
        if {task.id for task in chunks[number]} <= set(depends):
            over.add(number)
    return over


def _shares(needs: list[int], places: int) -> list[int]:
    """Places of every lane: equal parts, and what a small lane cannot use goes to the others. At least one each."""
    shares = [0] * len(needs)
    left, open_lanes = places, sorted(range(len(needs)), key=lambda lane: needs[lane])
    while open_lanes:
        lane, part = open_lanes[0], left // len(open_lanes)
        shares[lane] = max(1, min(needs[lane], part))
        left -= shares[lane]
        open_lanes.pop(0)
    return shares
