"""Content of the page as plain data: `analysis.report.page_context` builds it, `analysis.page.render` writes it.

Nothing here is HTML. Every text may have any character; it is escaped where it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.loading.failure_list import Failure
from analysis.tables.table import Table
from c2d.core.regular_file import Problem


@dataclass(frozen=True)
class SweepProgress:
    """One sweep and its progress.

    Attributes:
        name: of the sweep.
        question: of the sweep.
        states: {state of `analysis.loading.schema.STATES`: number of planned runs in it}.
    """

    name: str
    question: str = ""
    states: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_planned(self) -> int:
        """Number of planned runs."""
        return sum(self.states.values())

    @property
    def done(self) -> int:
        """Number of finished runs."""
        return self.states.get("done", 0)


@dataclass(frozen=True)
class PageFigure:
    """One figure.

    Attributes:
        name: of its files.
        title: heading of the figure.
        svg: text of the file; "" where there is only a note.
        csv: the data behind it.
        caption: below the figure.
        alt: text for a screen reader; "" takes the caption.
        note: why the figure is missing, or a warning.
        files: names of its files beside the page, e.g. "figures/pareto.pdf"; shown as text.
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
class SkippedItem:
    """A table or figure that could not be made.

    Attributes:
        name: of the table or figure, or the sweep where all are missing.
        reason: one sentence.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class RunColumn:
    """One column of the list of runs.

    Attributes:
        key: of the run's mapping.
        label: header.
        digits: after the decimal point of a number; None for text.
        scale: shown = scale x given.
    """

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
    RunColumn("redetected", "targets found again, %", 1, 100.0),
    RunColumn("train_s", "training, min", 1, 1 / 60),
    RunColumn("teacher", "teacher"),
    RunColumn("images", "trained on"),
    RunColumn("code", "code"),
    RunColumn("c2d", "c2d"),
    RunColumn("torch", "torch"),
    RunColumn("mmdet", "mmdet"),
    RunColumn("device", "device"),
    RunColumn("time", "started, UTC"),
    RunColumn("reason", "reason"),
)
"""Columns of the list of runs, in their order; one that no run has a value for is left out. Other keys of a run follow
behind them as text."""


@dataclass(frozen=True)
class PageContent:
    """One report.

    Attributes:
        title: heading of the page.
        created: time in UTC, as text.
        sweeps: progress of each sweep.
        store: as given by the user.
        tables: with numbers in the shown unit (AP in percent).
        figures: in their order on the page.
        failures: failed and stale runs.
        problems: files that could not be used.
        runs: one mapping a run, keys as in `RUN_COLUMNS`, numbers as in the frame (AP in 0-1, times in s).
        skipped: tables and figures that were left out.
        commits: {code: number of runs trained with it}.
        provenance: {fact: value}: versions, the command line.
        table_files: {table name: its file, the argument of `c2d explain`}.
    """

    title: str
    created: str
    sweeps: Sequence[SweepProgress] = ()
    store: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[PageFigure] = ()
    failures: Sequence[Failure] = ()
    problems: Sequence[Problem] = ()
    runs: Sequence[Mapping[str, Any]] = ()
    skipped: Sequence[SkippedItem] = ()
    commits: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    table_files: Mapping[str, str] = field(default_factory=dict)
