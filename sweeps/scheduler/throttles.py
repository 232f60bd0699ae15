"""How many tasks of each array of a sweep may run at once: slots that one array no longer needs go to the others.

A throttle of SLURM holds for one array. So the throttles are changed whenever a job of the sweep starts or ends, and
their sum never exceeds the cap of the sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ArrayLoad:
    """One array of a sweep in the queue.

    Attributes:
        job: its number.
        running: tasks that run, without one that is ending.
        pending: tasks that could start now or when a slot is free.
        blocked: tasks that wait for a dependency, or are held.
        follows: numbers of the arrays that have to end first, in any state.
    """

    job: str
    running: int
    pending: int
    blocked: int = 0
    follows: frozenset[str] = frozenset()

    @property
    def need(self) -> int:
        """Tasks that use a slot, or could."""
        return self.running + self.pending


def balanced_throttles(loads: Sequence[ArrayLoad], cap: int) -> dict[str, int]:
    """Return {array: throttle}, at least 1 each.

    Arrays that could use slots share them in equal parts, and what a small one cannot use goes to the others. An array
    that runs more tasks than its part keeps these slots until tasks of it end. An array that waits for a dependency has
    one slot in reserve, with which its first task starts; it needs none where another array has to end first.

    Args:
        loads: all arrays of the sweep in the queue.
        cap: tasks that may run at once, of all arrays together.
    """
    active = [load for load in loads if load.need]
    numbers = {load.job for load in active}
    reserved = sum(not load.need and not load.follows & numbers for load in loads)
    slots = max(cap - reserved, len(active))
    shared = equal_parts([load.need for load in active], slots)
    parts = {load.job: part for load, part in zip(active, shared, strict=True)}
    shares = {load.job: parts[load.job] if load.running >= parts[load.job] else max(1, load.running) for load in active}
    spare = slots - sum(max(load.running, shares[load.job]) for load in active)
    for load in active:
        more = min(max(0, spare), parts[load.job] - shares[load.job])
        shares[load.job] += more
        spare -= more
    return {load.job: shares.get(load.job, 1) for load in loads}


def equal_parts(needs: Sequence[int], slots: int) -> list[int]:
    """Return a part of the slots for every need: equal parts, at least 1; the others share what a small one leaves."""
    parts = [0] * len(needs)
    left, open_needs = slots, sorted(range(len(needs)), key=lambda place: needs[place])
    while open_needs:
        place = open_needs.pop(0)
        parts[place] = max(1, min(needs[place], left // (len(open_needs) + 1)))
        left -= parts[place]
    return parts
