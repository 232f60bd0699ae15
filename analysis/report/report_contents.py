"""Request and contents of a report: shared by `analysis.report.report`, which fills them, and the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.loading.schema import Study
from analysis.page.page_model import PageFigure, SkippedItem
from analysis.report.figure_cache import FigureCache
from analysis.spec.report_item import FigureSpec
from c2d.core.regular_file import Problem

if TYPE_CHECKING:
    from analysis.tables.table import Table


@dataclass(frozen=True)
class ReportRequest:
    """Arguments of `c2d report`.

    Attributes:
        runs: the store.
        out: folder of the results.
        sweeps: names; () for the whole store.
        specs: YAML files or names of shipped reports; () for the default report.
        allow_mixed: whether rows of different protocols may share a table, with a footnote.
        cache: folder of the warm cache; None for the usual one.
    """

    runs: Path
    out: Path
    sweeps: tuple[str, ...] = ()
    specs: tuple[str, ...] = ()
    allow_mixed: bool = False
    cache: Path | None = None


@dataclass(frozen=True)
class DrawnFigure:
    """A figure as files. The matplotlib Figure is not kept: a hundred of them fill a gigabyte.

    Attributes:
        name: of its files.
        spec: of the figure.
        files: {".pdf": ..., ".svg": ..., ".csv": ...}.
        note: why it is one of several; "" where it is not.
    """

    name: str
    spec: FigureSpec
    files: dict[str, bytes]
    note: str = ""


@dataclass
class ReportContents:
    """Contents of a report.

    Attributes:
        study: everything read from the store.
        figure_cache: figures that an earlier report has drawn.
        tables: as data.
        drawn: figures as files that are not written yet.
        skipped: default tables and figures that failed.
        notes: default figures that were left out on purpose.
        split: a sentence for each figure that became several.
        problems: files that could not be used, by the reader or by a figure.
        figures: the drawn figures as files for the page.
        files: all files that were written.
    """

    study: Study
    figure_cache: FigureCache
    tables: list[Table] = field(default_factory=list)
    drawn: list[DrawnFigure] = field(default_factory=list)
    skipped: list[SkippedItem] = field(default_factory=list)
    notes: list[SkippedItem] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    figures: list[PageFigure] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
