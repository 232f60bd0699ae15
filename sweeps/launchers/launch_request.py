"""The input of a launcher: runs in their order, machine, code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from c2d.core.job_file import CANARY
from c2d.core.run_folder import RunFolder
from sweeps.definition.profile import Profile, Size

PrintLine = Callable[[str], None]
"""Called with one line of progress, without a newline."""


@dataclass(frozen=True)
class Task:
    """One run to start, or to continue. In a job array it is one task.

    Attributes:
        run: its folder.
        after: ids of the tasks (teachers, a canary) that have to succeed first: of the same request, or jobs of an
            earlier one that are waiting or running.
        size: chooses the time limit of the profile.
        mem_gb: memory of a node in GB; None: the profile's. A retry may raise it.
        hours: time limit in hours; None: the profile's. A retry may raise it.
        exclude: nodes to avoid.
        stop_after: a canary saves and exits with success after this iteration; the run itself continues from there.
        snapshot: digest of the code the run has started with; "" for the request's.
        method: label of the method, for the name of its job; "": from the run id.
        cell: `axis=label, ...` of its first cell, for the comment of its job.
    """

    run: RunFolder
    after: tuple[str, ...] = ()
    size: Size = "small"
    mem_gb: float | None = None
    hours: float | None = None
    exclude: tuple[str, ...] = ()
    stop_after: int | None = None
    snapshot: str = ""
    method: str = ""
    cell: str = ""

    @property
    def is_canary(self) -> bool:
        """Whether it trains the first iterations alone."""
        return self.stop_after is not None

    @property
    def id(self) -> str:
        """The run's id, with `#canary` for a canary."""
        return f"{self.run.id}{CANARY}" if self.is_canary else self.run.id


@dataclass(frozen=True)
class LaunchRequest:
    """One launch.

    Attributes:
        sweep: name.
        runs: the store, absolute.
        data: root of the data cards, absolute.
        tasks: each after those it waits for.
        profile: the machine.
        snapshot: digest of the code; see sweeps/launchers/snapshot.py.
        specs: {run id: spec} of runs that have no folder yet, which is the case in a dry run.
    """

    sweep: str
    runs: Path
    data: Path
    tasks: list[Task]
    profile: Profile
    snapshot: str
    specs: Mapping[str, dict[str, Any]] = field(default_factory=dict)


class Launcher(Protocol):
    """Launch a request and return an exit code: dry prints it, local runs it, slurm submits it."""

    def __call__(self, request: LaunchRequest, print_line: PrintLine) -> int: ...
