"""The frame and its rows: one row for each planned cell and seed, whatever the state of its run.

`analysis.loading.load` builds the frame; all other modules only read it. A run that several equal cells share has a row
in each of them. A run that no sweep planned has one row, in the sweep "". Cells without a finished run are rows without
numbers and with their reason. AP and TIDE are in 0-1, times in s.

Columns: `sweep`, `role` (student, teacher, orphan: no longer planned, single: of no sweep), `seed`, `run`;
`axis.<axis>`, the label of the cell, missing where the sweep has no such axis (runs of no sweep have axis.student,
axis.method and axis.question, the run id without its seed); then the columns of `analysis.loading.columns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.regular_file import Problem

if TYPE_CHECKING:
    import pandas as pd

AXIS = "axis."
"""Prefix of the columns that hold a cell's labels."""
QUESTION = "axis.question"
"""Axis of runs of no sweep: the run id without its seed."""
STATES = ("new", "waiting", "running", "stale", "failed", "damaged", "done")
"""new: planned, no folder yet. stale: state running, but the heartbeat is older than 5 minutes. damaged: a file that a
finished run must have is missing or unreadable. Only done rows have numbers."""


@dataclass(frozen=True)
class Study:
    """Everything read from one store.

    Attributes:
        runs: the store.
        frame: as described above, in the order of the sweeps' cells.
        sweeps: {name: record as submitted}.
        problems: files that were skipped, and why.
        cache: folder of the warm cache; None for the usual one.
        stores: {run: its store} of runs that lie in another store than `runs`.
        given: the archive file that is unpacked in `runs`; None where the store itself was given.
    """

    runs: Path
    frame: pd.DataFrame
    sweeps: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    cache: Path | None = None
    stores: Mapping[str, Path] = field(default_factory=dict)
    given: Path | None = None

    @property
    def shown_store(self) -> Path:
        """What a person named as the store, for texts."""
        return self.given or self.runs

    def folder(self, run: str) -> Path:
        """Return the folder of a run."""
        return self.stores.get(run, self.runs) / run


def labels_of(row: Mapping[Any, Any]) -> dict[str, str]:
    """Return {axis: label} of one row of the frame, without the axis `question` of a run of no sweep."""
    named = {str(key): value for key, value in row.items() if str(key).startswith(AXIS) and key != QUESTION}
    return {key[len(AXIS) :]: value for key, value in named.items() if isinstance(value, str)}
