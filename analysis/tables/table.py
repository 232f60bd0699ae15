"""A table as data: what `analysis.tables.build_table` makes of the frame and every format writes. All numbers in the shown unit.

One column is one kind of number: measured, its difference to the baseline row, published, or the published difference.
Nothing is rounded here; `Column.digits` says how many digits a format shows, and CSV and JSON show all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from analysis.load.columns import Better

ColumnKind = Literal["measured", "difference", "published", "published difference"]
CellKind = Literal["value", "missing"]


@dataclass(frozen=True)
class Column:
    """One column. key: unique in the table ("AP", "delta.AP", "published.AP", "published.delta.AP")."""

    key: str
    label: str
    unit: str
    digits: int
    kind: ColumnKind = "measured"
    better: Better = ""

    @property
    def is_published(self) -> bool:
        """Published numbers look different in every format and are in no test."""
        return self.kind.startswith("published")


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
        p, p_holm: p value of a difference, raw and after Holm over the table; None without a test.
        test: name of the test, or why there is none.
        bold: best, or not distinguishable from the best.
        reason: why the value is missing.
        notes: marks of the table's footnotes.
        runs: ids of the runs with a value.
        source: source of a published number.
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
    p_holm: float | None = None
    test: str = ""
    bold: bool = False
    reason: str = ""
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Row:
    """One row. key: stable name ("model=ssd300, method=kd_cls"). labels: one a row axis, as shown ("" is a blank)."""

    key: str
    labels: tuple[str, ...]
    cells: dict[str, Cell]
    is_baseline: bool = False


@dataclass(frozen=True)
class Ledger:
    """What differs between the rows of a table, and what they have in common.

    same: {fact: value} for all rows. differs: {fact: {row key: value}}. mixed: sentences about rows that were trained
    under another protocol than those they are compared with; each is a footnote as well.
    """

    same: dict[str, str] = field(default_factory=dict)
    differs: dict[str, dict[str, str]] = field(default_factory=dict)
    mixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table. notes: {mark: sentence}, in order of appearance. statistics: sentences on tests, intervals and spread.

    row_axes: header of the label columns. store: the store its run ids are in, as given by the user. tex_ledger: LaTeX
    has the ledger under the table, as the other formats always have. tex_wide: over both columns of a page.
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
    tex_ledger: bool = True
    tex_wide: bool = False
