"""Choices that LaTeX alone has: with the ledger, p values as stars or a column, over both columns; width of a table."""

from __future__ import annotations

import dataclasses

from analysis.formats import latex, markdown
from analysis.tables.table import Cell, Column, Ledger, Row, Table
from tests.analysis.formats import tables

CELL = {"AP": Cell(value=26.0, n=3, n_planned=3)}
ROWS = (Row("method=a", ("a",), CELL), Row("method=b", ("b",), CELL))
TABLE = Table(
    "t", "T", ("method",), (Column("AP", "AP", "%", 1),), ROWS,
    ledger=Ledger({"schedule": "1x"}, {"teacher": {"method=a": "none", "method=b": "r50"}}),
    statistics=("Means",),
)  # fmt: skip


def test_the_ledger_is_under_the_table_only_where_it_is_wanted() -> None:
    assert "schedule: 1x" in latex.write(dataclasses.replace(TABLE, tex_ledger=True))
    assert "schedule: 1x" not in latex.write(TABLE)
    assert "r50" not in latex.write(TABLE)
    assert "Means" in latex.write(TABLE)
    assert "schedule: 1x" in markdown.write(TABLE)


def with_p(p: str, *adjusted: float | None) -> Table:
    column = Column("delta.AP", "ΔAP", "%", 1, "difference")
    rows = tuple(
        Row(f"r{at}", (f"r{at}",), {"delta.AP": tables.difference(1.0, 0.1, 1.9, value, p_adjusted=value)})
        for at, value in enumerate(adjusted)
    )
    return dataclasses.replace(TABLE, columns=(column,), rows=rows, tex_p=p)  # type: ignore[arg-type]


def test_stars_follow_the_adjusted_p() -> None:
    text = latex.write(with_p("stars", 0.0004, 0.004, 0.049, 0.05, None))
    cells = [line for line in text.splitlines() if line.startswith("r")]
    assert [line.count("*") for line in cells] == [3, 2, 1, 0, 0]
    assert r"\textsuperscript{*}\,\ensuremath{p < 0.05}, \textsuperscript{**}\,\ensuremath{p < 0.01}" in text
    assert "p of" not in text
    assert "***" not in markdown.write(with_p("stars", 0.0004))
    assert "r0 < 0.001" in markdown.write(with_p("stars", 0.0004)).replace("&lt;", "<")
    assert r"p < 0.05" not in latex.write(with_p("stars", None))


def test_p_values_have_a_column_or_sentences_where_that_is_wanted() -> None:
    text = latex.write(with_p("column", 0.0004, 0.012, None))
    assert r"\multicolumn{1}{c}{$p$}" in text
    assert [line.split(" & ")[-1] for line in text.splitlines() if line.startswith("r")] == [
        r"\textless{} 0.001 \\", r"0.012 \\", r" \\",
    ]  # fmt: skip
    assert r"\textsuperscript{*" not in text
    assert r"\textit{p of" in latex.write(with_p("sentences", 0.012))
    assert r"$p$" not in latex.write(with_p("column", None))


def test_a_table_that_is_too_wide_says_so() -> None:
    assert latex.too_wide(TABLE) == ""
    note = latex.too_wide(tables.wide())
    # pdflatex sets this table 765 pt wide.
    assert 0.9 * 765 < float(note.split()[1]) < 1.1 * 765
    assert "one column of a paper has 241 pt" in note
    assert "`wide: true`" in note
    assert f"% {note}" in latex.write(tables.wide())
    both = latex.too_wide(dataclasses.replace(tables.wide(), tex_wide=True))
    assert "both columns have 506 pt" in both
    assert "wide: true" not in both


def test_a_wide_table_spans_both_columns() -> None:
    wide = latex.write(dataclasses.replace(TABLE, tex_wide=True))
    assert wide.count("{table*}") == 2
    assert "{table*}" not in latex.write(TABLE)
