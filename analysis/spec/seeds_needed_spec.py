"""The spec of a table with the number of seeds that detects a difference."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from analysis.loading.columns import quantity
from analysis.spec.report_item import Key, Labels, NonEmptyKeys, ReportItem


def _of_training(keys: list[str]) -> list[str]:
    measured = [key for key in keys if not quantity(key).column]
    if measured:
        raise ValueError(
            f"{', '.join(measured)} is measured on a finished student, not decided by the seed of its training; take "
            "numbers of result.json, e.g. AP, AP50, tide.Cls"
        )
    return keys


class SeedsNeededSpec(ReportItem):
    """One table for each column of `columns`, with one line for each baseline.

    Attributes:
        rows: {axis: labels in order}, of the rows and their baselines; an empty list takes the order of the sweep.
        baseline: {axis: label} of the row that each row is compared with, the other axes being equal.
        columns: keys of the numbers, each a table of its own.
        difference: true difference that has to be detected, in the unit of the number (percentage points of AP).
        power: probability that it is.
        family: number of rows that the planned table compares with each baseline; None: those of `rows`.
        digits: {column: digits after the decimal point}.
        ledger_in_latex: as of a table.
        wide: as of a table.
    """

    kind: Literal["seeds_needed"]
    rows: Annotated[dict[str, list[str]], Field(min_length=1)]
    baseline: Annotated[Labels, Field(min_length=1)]
    columns: Annotated[NonEmptyKeys, AfterValidator(_of_training)] = ["AP"]
    difference: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    power: Annotated[float, Field(gt=0.05, lt=1)] = 0.8
    family: Annotated[int, Field(ge=1)] | None = None
    digits: dict[Key, Annotated[int, Field(ge=0, le=12)]] = {}
    ledger_in_latex: bool = False
    wide: bool = False
