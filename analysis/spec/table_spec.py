"""The spec of a table, and of the published rows beside its measured ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from analysis.spec.report_item import Key, Keys, Labels, NonEmptyKeys, ReportItem


class PublishedSpec(BaseModel):
    """Selection of the published rows beside the measured ones.

    The conditions of all axes of a row, and `all`, must select exactly one published row; a row without conditions has
    no published numbers. A condition on a value of `other_metric` is written as `other.lambda_kc: 0.1`.

    Attributes:
        paper, table: columns `paper_key` and `table` of published.csv.
        later_table: a table of a later version of the paper, for combinations that `table` does not have; "" for none.
        all: {column of published.csv: value}, conditions of every row.
        rows: {axis: {label: {column of published.csv: value}}}.
        columns: keys of the published numbers.
        differences: columns that get a published difference.
        deviations: columns whose measured mean is compared with the published number, where both are shown.
        other: names in `other_metric` that are shown too, in columns of their own: no measured number is compared.
        file: a CSV of your own with the columns of published.csv, beside the spec; "" is the shipped one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    paper: str
    table: str
    later_table: str = ""
    all: Labels = {}
    rows: dict[str, dict[str, Labels]]
    columns: Keys = ["AP"]
    differences: Keys = ["AP"]
    deviations: Keys = ["AP"]
    other: list[str] = []
    file: str = ""


class GapSpec(BaseModel):
    """Columns with the share of a gap that each row closes: 0 % is a control row, 100 % a reference row.

    Attributes:
        control, reference: {axis: label} of the two rows, the other axes being those of the row.
        columns: keys of the numbers whose gap it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    control: Annotated[Labels, Field(min_length=1)]
    reference: Annotated[Labels, Field(min_length=1)]
    columns: NonEmptyKeys = ["AP"]


class PerCostSpec(BaseModel):
    """Columns with what each row gains over the baseline for each unit that it costs more.

    Attributes:
        cost: key of the number that is the cost.
        columns: keys of the numbers whose gain it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    cost: Key = "train_hours"
    columns: NonEmptyKeys = ["AP"]


class TableSpec(ReportItem):
    """One table.

    Attributes:
        rows: {axis: labels in order}; an empty list takes the order of the sweep.
        baseline: {axis: label} of the row that each row is compared with, the other axes being equal.
        columns: keys of the measured numbers.
        differences: columns that get a difference column, interval and test.
        uncertainty: population of intervals and tests of differences: other seeds (default), other images (of the
            checkpoints as they are), or both; the last two read the detections and need AP, AP50 or AP75.
        gap: the share of the gap between two rows that each row closes.
        per_cost: what each row gains over the baseline for each unit that it costs more.
        published: published numbers beside the measured ones.
        bold: best makes the best number of a column bold and marks those that are not distinguishable from it.
        latency: conditions that select the latency files, e.g. {device: ..., precision: fp32}.
        digits: {column: digits after the decimal point}.
        seeds: only these seeds; the table says so.
        ledger_in_latex: true puts the ledger under the table of the .tex file; the other formats always have it.
        p_in_latex: p values in the .tex file: stars at the differences, a column of their own, or sentences below.
        wide: a LaTeX table over both columns of a page.
    """

    kind: Literal["table"]
    rows: Annotated[dict[str, list[str]], Field(min_length=1)]
    baseline: Labels = {}
    columns: NonEmptyKeys = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    differences: Keys = ["AP"]
    uncertainty: Literal["seeds", "images", "seeds+images"] = "seeds"
    gap: GapSpec | None = None
    per_cost: PerCostSpec | None = None
    published: PublishedSpec | None = None
    bold: Literal["best", "none"] = "best"
    latency: Labels = {}
    digits: dict[Key, Annotated[int, Field(ge=0, le=12)]] = {}
    seeds: list[Annotated[int, Field(ge=0)]] = []
    ledger_in_latex: bool = False
    p_in_latex: Literal["stars", "column", "sentences"] = "stars"
    wide: bool = False
