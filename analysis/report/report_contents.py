"""What a report is asked for and what it consists of: between `analysis.report.report`, which makes it, and the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.load.schema import Study
from analysis.page.page_model import PageFigure, SkippedItem
from analysis.spec.report_item import FigureSpec
from c2d.core.regular_file import Problem

if TYPE_CHECKING:
    import pandas as pd

    from analysis.tables.table import Table


@dataclass(frozen=True)
class ReportRequest:
    """What is asked for.

    runs: the store. out: folder of the results. sweeps: names, () for the whole store. specs: YAML files or names of
    shipped reports, () for the default report. allow_mixed: rows of different protocols may share a table, with a
    footnote. cache: folder of what was read before (None: the usual one).
    """

    runs: Path
    out: Path
    sweeps: tuple[str, ...] = ()
    specs: tuple[str, ...] = ()
    allow_mixed: bool = False
    cache: Path | None = None


@dataclass(frozen=True)
class DrawnFigure:
    """A figure, the data it was drawn from and its spec."""

    name: str
    spec: FigureSpec
    data: pd.DataFrame
    figure: Any


@dataclass
class ReportContents:
    """What a report consists of.

    skipped: what could not be made by default. notes: what was left out on purpose. problems: files that could not be
    used, by the reader or by a figure. files: everything that was written.
    """

    study: Study
    tables: list[Table] = field(default_factory=list)
    drawn: list[DrawnFigure] = field(default_factory=list)
    skipped: list[SkippedItem] = field(default_factory=list)
    notes: list[SkippedItem] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    figures: list[PageFigure] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
