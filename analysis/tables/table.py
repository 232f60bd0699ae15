"""A table as data: `analysis.tables.build_table` builds it from the frame, every format writes it.

All numbers are in the shown unit (AP in percent, latency in ms). One column is one kind of number: measured, its
difference to the baseline row, the share of a gap that it closes, published, the published difference, or the deviation
of the measured number from the published one; of claims a contrast, its interval alone, or its p value; or what a power
analysis says of the seeds. Nothing is rounded here; `Column.digits` is the number of digits that a format shows, and
CSV and JSON show all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from analysis.loading.columns import Better

ColumnKind = Literal[
    "measured", "difference", "gap closed", "gain per cost", "published", "published difference", "deviation",
    "contrast", "interval", "p value", "power analysis",
]  # fmt: skip
CellKind = Literal["value", "missing"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: unique in the table: "AP", "delta.AP", "gap.AP", "per.AP", "published.AP", "published.delta.AP",
            "deviation.AP".
        label: header without the unit.
        unit: of its numbers; "" for counts and ratios.
        digits: after the decimal point.
        kind: of its numbers.
        better: direction in which a row is ahead; "" for numbers without direction.
    """

    key: str
    label: str
    unit: str
    digits: int
    kind: ColumnKind = "measured"
    better: Better = ""

    @property
    def is_published(self) -> bool:
        """Whether the numbers are published; they have a style of their own in every format and are in no test."""
        return self.kind.startswith("published")

    @property
    def is_text(self) -> bool:
        """Whether a cell shows a text instead of a number that can be aligned on its decimal point."""
        return self.kind in ("interval", "p value")

    @property
    def is_signed(self) -> bool:
        """Whether a positive number has a plus."""
        return self.kind.endswith("difference") or self.kind in ("deviation", "contrast", "gain per cost")


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        kind: value or missing.
        value: mean over seeds, or the mean paired difference; None where it is missing.
        n: number of seeds with a value.
        n_planned: number of seeds in the sweep.
        sd: sample standard deviation over seeds (ddof 1); None below two seeds.
        low, high: 95 % interval; None where no method covers 95 % at this n.
        interval: name of the interval, or why there is none.
        p: p value of a difference by itself; None without a test.
        p_adjusted: the same, adjusted for the other tests of its family; below 0.05 exactly when the interval of the
            difference leaves out 0.
        significant: whether p_adjusted is below 0.05; None without a test.
        family: number of tests that p_adjusted is adjusted for: those of one column with one baseline.
        test: name of the test and of its adjustment, or why there is none.
        cross_check: sentence on a second test that does not decide; "" where there is none.
        bold: the best number of its column among the rows it is compared with, as shown.
        near_best: not bold, and no row is significantly better.
        reason: why the value is missing.
        notes: marks of the table's footnotes.
        runs: ids of the runs with a value; of a difference first those of the row, then those of its baseline.
        files: of each run the file in its folder that has the number.
        source: source of a published number.
        quantity: key of the runs' number, in a column that has different ones.
        factors: one a run: the value of a contrast is the sum of factor x number.
    """

    kind: CellKind = "value"
    value: float | None = None
    n: int = 0
    n_planned: int = 0
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    p: float | None = None
    p_adjusted: float | None = None
    significant: bool | None = None
    family: int = 0
    test: str = ""
    cross_check: str = ""
    bold: bool = False
    near_best: bool = False
    reason: str = ""
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    source: str = ""
    quantity: str = ""
    factors: tuple[float, ...] = ()


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        key: stable name ("model=ssd300, method=kd_cls").
        labels: one a row axis, as shown ("" is a blank).
        cells: {key of the column: cell}.
        is_baseline: whether other rows are compared with it.
        alias: what sentences call it; "" joins its labels.
    """

    key: str
    labels: tuple[str, ...]
    cells: dict[str, Cell]
    is_baseline: bool = False
    alias: str = ""


@dataclass(frozen=True)
class Ledger:
    """Facts that the rows of a table share, and facts that differ between them.

    Attributes:
        same: {fact: value} for all rows.
        differs: {fact: {row key: value}}.
        mixed: sentences on rows that were trained under another protocol than the rows they are compared with; each is
            a footnote as well.
    """

    same: dict[str, str] = field(default_factory=dict)
    differs: dict[str, dict[str, str]] = field(default_factory=dict)
    mixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of its files.
        title: heading.
        row_axes: axes of the label columns.
        columns: after the label columns.
        rows: in their order.
        caption: below the title.
        notes: {mark: sentence}, in order of appearance.
        ledger: shared and differing facts of the rows.
        statistics: sentences on tests, intervals and spread.
        store: the store of its run ids, as given by the user.
        tex_ledger: whether LaTeX has the ledger under the table; the other formats always have it.
        tex_p: how LaTeX shows the p values of differences; the other formats have sentences.
        tex_wide: whether the LaTeX table spans both columns of a page.
        axis_labels: {axis: its header}; an axis without one is its own header. All labels are in Unicode.
        math: {label: the label as it was written} of those with LaTeX math (`c2d.markup.composed_text`).
    """

    name: str
    title: str
    row_axes: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    ledger: Ledger = Ledger()
    statistics: tuple[str, ...] = ()
    store: str = ""
    tex_ledger: bool = False
    tex_p: Literal["stars", "column", "sentences"] = "stars"
    tex_wide: bool = False
    axis_labels: dict[str, str] = field(default_factory=dict)
    math: dict[str, str] = field(default_factory=dict)

    @property
    def headings(self) -> tuple[str, ...]:
        """Headers of the label columns, in the order of `row_axes`."""
        return tuple(self.axis_labels.get(axis, axis) for axis in self.row_axes)
