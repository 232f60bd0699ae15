"""A table as HTML: a <figure> with a <table>, its footnotes, statistics and ledger.

Every <td> with a number has it in full precision (data-value, data-sd, data-low, data-high, data-p, data-p-adjusted)
and names its runs (data-runs, as in the CSV); its title has the same in words. Classes: measured, difference,
published; best, near-best, missing, baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape as _escape

from analysis.formats.cell_text import CellText, cell_of, header, is_missing, marked_up, printable, with_full_stop
from analysis.formats.csvfile import exact, runs_field
from analysis.formats.text import TableText, table_text
from analysis.tables.table import Cell, Column, Row, Table

CSS = """
:root { color-scheme: light dark; --quiet: #666; --line: #999; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; --line: #777; } }
body { font: 16px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
figure { margin: 0; overflow-x: auto; }
table { border-collapse: collapse; border-block: 2px solid; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .6rem; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap; }
thead th { border-bottom: 1px solid; vertical-align: bottom; }
th.axis, th.label { text-align: left; font-weight: normal; white-space: normal; }
tbody tr.group:not(:first-child) > * { border-top: 1px solid var(--line); }
sub, sup { line-height: 0; }
.spread, .n { font-size: .8em; }
.published, .spread, .n, .under { color: var(--quiet); }
.under { font-size: .85em; max-width: 60rem; }
.under ul { list-style: none; padding: 0; }
""".strip()


def write(table: Table) -> str:
    """Return the <figure> of a table, to insert into a page."""
    content = table_text(table)
    store = f' data-store="{escape(table.store)}"' if table.store else ""
    lines = [f'<figure class="c2d-table" data-table="{escape(table.name)}"{store}>', "<table>"]
    title = f"<strong>{escape(with_full_stop(table.title or table.name))}</strong>"
    caption = " ".join([title, *map(escape, content.caption)])
    lines += [f"<caption>{caption}</caption>", "<thead>", "<tr>"]
    lines += (f'<th scope="col" class="axis">{label(heading, table.math)}</th>' for heading in table.headings)
    lines += (_head(column, table.math) for column in table.columns)
    lines += ["</tr>", "</thead>", "<tbody>"]
    for at, row in enumerate(table.rows):
        lines += _row(table, at, row, content)
    lines += ["</tbody>", "</table>", *_under(content), "</figure>"]
    return "\n".join(lines) + "\n"


def page(table: Table) -> str:
    """Return a complete page of one table, without any outside address."""
    title = escape(table.title or table.name or "table")
    head = f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<title>{title}</title>'
    body = f"<style>\n{CSS}\n</style>\n</head>\n<body>\n<main>\n{write(table)}</main>\n</body>\n</html>\n"
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n{body}'


def escape(text: str) -> str:
    """Escape text for elements and for attributes in quotes."""
    return _escape(printable(text), quote=True)


def label(text: str, math: Mapping[str, str]) -> str:
    """Return a label for an element, its math in Unicode with <sub> and <sup>.

    Args:
        text: in Unicode.
        math: of `analysis.tables.table.Table.math`.
    """
    return marked_up(text, math, escape)


def _head(column: Column, math: Mapping[str, str]) -> str:
    facts = {"key": column.key, "unit": column.unit, "better": column.better}
    data = "".join(f' data-{fact}="{escape(value)}"' for fact, value in facts.items() if value)
    # The kind "published difference" is two classes.
    return f'<th scope="col" class="{column.kind}"{data}>{label(header(column), math)}</th>'


def _row(table: Table, at: int, row: Row, content: TableText) -> Iterator[str]:
    begins = len(row.labels) > 1 and (at == 0 or table.rows[at - 1].labels[:1] != row.labels[:1])
    classes = " ".join(["baseline"] * row.is_baseline + ["group"] * begins)
    yield f'<tr data-row="{escape(row.key)}"' + (f' class="{classes}">' if classes else ">")
    for text in row.labels:
        yield f'<th scope="row" class="label">{label(text, table.math)}</th>'
    for column in table.columns:
        yield _cell(content.cells[at, column.key], cell_of(row, column), column)
    yield "</tr>"


def _cell(shown: CellText, cell: Cell, column: Column) -> str:
    classes = column.kind + " best" * shown.bold + " near-best" * cell.near_best + " missing" * shown.is_missing
    title = "; ".join(_words(cell))
    attributes = "".join(f' data-{fact}="{value}"' for fact, value in _data(cell))
    attributes += f' title="{escape(title)}"' if title else ""
    text = f"<b>{shown.number}</b>" if shown.bold else shown.number
    for part, name in ((shown.spread, "spread"), (shown.n, "n")):
        text += f' <span class="{name}">{part}</span>' if part else ""
    if shown.published and not shown.is_missing:
        text = f"<i>{text}</i>"
    if shown.marks:
        text += f"<sup>{','.join(map(escape, shown.marks))}</sup>"
    return f'<td class="{classes}"{attributes}>{text}</td>'


def _data(cell: Cell) -> Iterator[tuple[str, str]]:
    numbers = {"value": None if is_missing(cell) else cell.value, "sd": cell.sd, "low": cell.low, "high": cell.high}
    for fact, number in {**numbers, "p": cell.p, "p-adjusted": cell.p_adjusted}.items():
        if number is not None:
            yield fact, exact(number)
    if cell.n or cell.n_planned:
        yield "n", str(cell.n)
        yield "promised", str(cell.n_planned)
    if cell.runs:
        yield "runs", escape(runs_field(cell.runs))


def _words(cell: Cell) -> Iterator[str]:
    """The title: what does not fit into the cell."""
    if is_missing(cell):
        if cell.reason:
            yield cell.reason
        return
    yield exact(cell.value)
    if cell.sd is not None:
        yield f"standard deviation {exact(cell.sd)}"
    if cell.n or cell.n_planned:
        yield f"{cell.n} of {max(cell.n, cell.n_planned)} seeds"
    if cell.low is not None and cell.high is not None:
        yield f"interval [{exact(cell.low)}, {exact(cell.high)}]" + (f" ({cell.interval})" if cell.interval else "")
    elif cell.interval:
        yield f"interval: {cell.interval}"
    tests = [f"p = {exact(cell.p)}" if cell.p is not None else ""]
    tests += [f"adjusted {exact(cell.p_adjusted)}" if cell.p_adjusted is not None else "", cell.test]
    if any(tests):
        yield ", ".join(filter(None, tests))
    if cell.cross_check:
        yield cell.cross_check
    if cell.source:
        yield f"published: {cell.source}"


def _under(content: TableText) -> Iterator[str]:
    if not content.notes and not content.under:
        return
    yield '<div class="under">'
    if content.notes:
        yield '<ul class="notes">'
        for mark, sentence in content.notes.items():
            yield f"<li><sup>{escape(mark)}</sup> {escape(with_full_stop(sentence))}</li>"
        yield "</ul>"
    for head, sentence in content.under:
        yield f"<p><strong>{escape(head)}:</strong> {escape(sentence)}</p>"
    yield "</div>"
