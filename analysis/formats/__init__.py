"""One table, five formats: each writes the same `analysis.tables.table.Table` as text.

`text` owns the text of a cell, so that a number is the same in LaTeX, Markdown and HTML; CSV and JSON have full
precision. Names come from people and papers: every format escapes them.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis.formats import csvfile, html, jsonfile, latex, markdown
from analysis.tables.table import Table

FORMATS: dict[str, Callable[[Table], str]] = {
    "tex": latex.write,
    "md": markdown.write,
    "csv": csvfile.write,
    "html": html.page,
    "json": jsonfile.write,
}
"""{extension: writer}. Files are UTF-8; write them with newline="" so that a name's own line ends survive in CSV."""
