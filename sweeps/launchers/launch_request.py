"""What a launcher is handed: which runs, in which order, on what kind of machine, with which code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from c2d.core.run_folder import RunFolder
from sweeps.definition.profile import Profile, Size

PrintLine = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """One run to start, or to continue.

    after: ids of the tasks (teachers, a canary) that have to end well first. They may be part of the same order, or
        jobs of an earlier one that are still waiting or running.
    mem_gb, hours, exclude: what a retry raised or left out; None and () take the profile's.
    stop_after: a canary trains so many iterations, saves and ends well; the run itself continues from there.
    snapshot: the code a run has begun with; "" for the order's.
    """

    run: RunFolder
    after: tuple[str, ...] = ()
    size: Size = "small"
    mem_gb: float | None = None
    hours: float | None = None
    exclude: tuple[str, ...] = ()
    stop_after: int | None = None
    snapshot: str = ""

    @property
    def id(self) -> str:
        return self.run.id if self.stop_after is None else f"{self.run.id}#canary"


@dataclass(frozen=True)
class LaunchRequest:
    """One launch. Paths are absolute; a task comes after those it waits for."""

    sweep: str
    runs: Path
    data: Path
    tasks: list[Task]
    profile: Profile
    snapshot: str  # digest of the code; see sweeps/launchers/snapshot.py
    questions: Mapping[str, dict[str, Any]] = field(default_factory=dict)  # specs of runs without a folder yet, by id


class Launcher(Protocol):
    """WHERE, in one function: dry prints, local runs, slurm submits. Returns an exit code."""

    def __call__(self, request: LaunchRequest, print_line: PrintLine) -> int: ...
