"""Values in all five formats parse back equal, whatever the names are."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given, settings

from analysis.formats import FORMATS, csvfile, html, jsonfile, latex, markdown
from analysis.formats.cell_text import DASH, cell_of, format_number, is_missing, printable, printable_line
from analysis.tables.table import Table
from tests.analysis.formats import tables
from tests.analysis.formats.parsers import html_rows, latex_grid, markdown_grid

EXAMPLES = settings(max_examples=50, deadline=None)
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "figure", "table", "caption", "strong", "thead"),
    *("tbody", "tr", "th", "td", "b", "i", "sup", "span", "div", "ul", "li", "p"),
}


def expected_numbers(table: Table) -> list[list[str]]:
    """First word of every cell, from the CSV's full precision."""
    lines = iter(csvfile.read(csvfile.write(table)))
    out = []
    for row in table.rows:
        shown = []
        for column in table.columns:
            line = next(lines)
            assert (line["row"], line["column"]) == (row.key, column.key)
            missing = is_missing(cell_of(row, column))
            signed = column.kind.endswith(("difference", "deviation")) or column.kind in ("contrast", "gain per cost")
            shown.append(DASH if missing else format_number(float(line["value"]), column.digits, signed))
        out.append(shown)
    return out


@EXAMPLES
@given(tables.tables())
def test_json_is_lossless(table):
    assert jsonfile.read(jsonfile.write(table)) == table


@EXAMPLES
@given(tables.tables())
def test_csv_is_exact(table):
    lines = csvfile.read(csvfile.write(table))
    cells = [(row, column, cell_of(row, column)) for row in table.rows for column in table.columns]
    assert len(lines) == len(cells)
    for line, (row, column, cell) in zip(lines, cells, strict=True):
        for name in ("value", "sd", "low", "high", "p", "p_adjusted"):
            given_number = getattr(cell, name)
            assert (float(line[name]) if line[name] else None) == given_number
        assert (int(line["n"]), int(line["promised"])) == (cell.n, cell.n_planned)
        assert csvfile.run_ids(line["runs"]) == cell.runs
        assert [line[axis] for axis in csvfile.axes(table)] == list(row.labels)
        texts = (table.name, row.key, column.key, column.label, column.unit, column.kind)
        assert tuple(line[name] for name in ("table", "row", "column", "label", "unit", "kind")) == texts
        assert (line["reason"], line["test"], line["interval"], line["source"]) == (
            *(cell.reason, cell.test, cell.interval, cell.source),
        )
        assert line["bold"] == ("true" if cell.bold else "false")


@EXAMPLES
@given(tables.tables())
def test_the_readable_formats_show_the_rounded_value(table):
    numbers = expected_numbers(table)
    labels, shown_md = markdown_grid(markdown.write(table), len(table.row_axes))
    assert labels == [[printable_line(label) for label in row.labels] for row in table.rows]
    _, shown_tex = latex_grid(latex.write(table), len(table.row_axes))
    rows, keys, _ = html_rows(html.write(table))
    shown_html = [[td.text for td in row if td.tag == "td"] for row in rows[1:]]
    assert keys[1:] == [printable(row.key) for row in table.rows]
    assert shown_md == shown_tex == shown_html  # one wording
    assert [[cell.split(" ")[0] for cell in row] for row in shown_md] == numbers


@EXAMPLES
@given(tables.tables())
def test_html_carries_full_precision_and_is_well_formed(table):
    ElementTree.fromstring(html.write(table))
    rows, _, tags = html_rows(html.page(table))
    assert tags <= ALLOWED
    for row, cells in zip(table.rows, rows[1:], strict=True):
        assert [printable(label) for label in row.labels] == [td.text for td in cells if td.tag == "th"]
        for column, td in zip(table.columns, (td for td in cells if td.tag == "td"), strict=True):
            cell = cell_of(row, column)
            found = td.attributes.get("data-value")
            assert (None if found is None else float(found)) == (None if is_missing(cell) else cell.value)
            assert ("published" in td.attributes["class"].split()) == column.is_published
            assert td.attributes.get("data-runs", "") == printable(csvfile.runs_field(cell.runs))


@EXAMPLES
@given(tables.tables())
def test_every_format_is_text_that_a_file_can_hold_and_the_same_every_time(table):
    for write in FORMATS.values():
        text = write(table)
        assert text.encode("utf-8").decode("utf-8") == text
        assert text.endswith("\n")
        assert write(jsonfile.read(jsonfile.write(table))) == text


def test_the_paper_table_in_all_five():
    table = tables.paper()
    numbers = expected_numbers(table)
    assert numbers[0][:3] == ["25.6", DASH, "25.6"]
    assert numbers[4][:2] == ["32.0", "−0.2"]
    _, shown = markdown_grid(markdown.write(table), 2)
    assert shown[2][:4] == ["27.0 ± 0.2 (3)", "+1.4 [0.5, 2.3] (3)", "27.0", "+1.4"]
    assert shown[4][0] == "32.0 ± 0.4 (2/3)"
    assert jsonfile.read(FORMATS["json"](table)) == table
