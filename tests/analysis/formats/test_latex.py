"""Choices that LaTeX alone has: without the ledger, over both columns."""

from __future__ import annotations

import dataclasses

from analysis.formats import latex, markdown
from analysis.tables.table import Cell, Column, Ledger, Row, Table

CELL = {"AP": Cell(value=26.0, n=3, n_planned=3)}
ROWS = (Row("method=a", ("a",), CELL), Row("method=b", ("b",), CELL))
TABLE = Table(
    "t", "T", ("method",), (Column("AP", "AP", "%", 1),), ROWS,
    ledger=Ledger({"schedule": "1x"}, {"teacher": {"method=a": "none", "method=b": "r50"}}),
    statistics=("Means",),
)  # fmt: skip


def test_the_ledger_stands_under_the_table_unless_it_is_not_wanted() -> None:
    assert "schedule: 1x" in latex.write(TABLE)
    bare = dataclasses.replace(TABLE, tex_ledger=False)
    assert "schedule: 1x" not in latex.write(bare)
    assert "r50" not in latex.write(bare)
    assert "Means" in latex.write(bare)
    assert "schedule: 1x" in markdown.write(bare)


def test_a_wide_table_spans_both_columns() -> None:
    wide = latex.write(dataclasses.replace(TABLE, tex_wide=True))
    assert wide.count("{table*}") == 2
    assert "{table*}" not in latex.write(TABLE)
