"""What the page shows, as plain data: `analysis.report.report` fills it, `analysis.page.render` writes it.

Nothing here is HTML. Every text may hold anything; it is escaped where it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.tables.table import Table
from c2d.core.regular_file import Problem


@dataclass(frozen=True)
class SweepProgress:
    """One question and how far it is. states: {state: promised runs in it}, states as in `analysis.load.schema.STATES`."""

    name: str
    question: str = ""
    states: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_planned(self) -> int:
        return sum(self.states.values())

    @property
    def done(self) -> int:
        return self.states.get("done", 0)


@dataclass(frozen=True)
class PageFigure:
    """One figure. svg: text of the file; "" where there is only a note. csv: the data behind it.

    alt: what a person who cannot see it should know, the caption where it is left out. note: why it is missing, or what
    to heed. files: names of its files beside the page, e.g. "figures/pareto.pdf"; shown as text.
    """

    name: str
    title: str
    svg: str
    csv: str = ""
    caption: str = ""
    alt: str = ""
    note: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class PageFailure:
    """One run that did not make it, with its triage. cells: where it stands in the sweep. lines: last of its log."""

    run: str
    failure_class: str
    suggestion: str
    cells: str = ""
    state: str = "failed"
    reason: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class SkippedItem:
    """A table or figure that could not be made."""

    name: str
    reason: str


@dataclass(frozen=True)
class RunColumn:
    """One column of the list of runs. digits: of a number, None for text. scale: shown = scale x given."""

    key: str
    label: str
    digits: int | None = None
    scale: float = 1.0


RUN_COLUMNS = (
    RunColumn("run", "run"),
    RunColumn("sweep", "sweep"),
    RunColumn("role", "role"),
    RunColumn("cells", "cell"),
    RunColumn("seed", "seed", 0),
    RunColumn("state", "state"),
    RunColumn("AP", "AP, %", 1, 100.0),
    RunColumn("AP50", "AP50, %", 1, 100.0),
    RunColumn("top1", "top-1, %", 1, 100.0),
    RunColumn("train_s", "training, min", 1, 1 / 60),
    RunColumn("teacher", "teacher"),
    RunColumn("code", "code"),
    RunColumn("c2d", "c2d"),
    RunColumn("torch", "torch"),
    RunColumn("mmdet", "mmdet"),
    RunColumn("device", "device"),
    RunColumn("time", "started, UTC"),
    RunColumn("reason", "reason"),
)
"""Columns of the list of runs that the page knows, in their order; one that no run has a value for is left out. Other
keys of a run follow behind them as text."""


@dataclass(frozen=True)
class PageContent:
    """One report.

    created: UTC, as text. store: as given by the user. runs: one mapping a run, keys as in `RUN_COLUMNS`, numbers as
    the frame holds them. table_files: {table name: the file as `c2d explain` is told it}. commits: {code: runs made
    with it}. provenance: {fact: value}: versions, engines, the command line.
    """

    title: str
    created: str
    sweeps: Sequence[SweepProgress] = ()
    store: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[PageFigure] = ()
    failures: Sequence[PageFailure] = ()
    problems: Sequence[Problem] = ()
    runs: Sequence[Mapping[str, Any]] = ()
    skipped: Sequence[SkippedItem] = ()
    commits: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    table_files: Mapping[str, str] = field(default_factory=dict)
