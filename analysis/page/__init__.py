"""The one-page report: a `PageContent` as one HTML file that loads nothing from outside.

Everything is inside: style, script, drawings, data. A content security policy in the file allows no address and no
script but its own two, so that even a text that was not escaped could do nothing. All content is there without the
script; the script adds sorting, filters, the panel behind a number, and the button for the dark theme.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from analysis.page.page_model import PageContent

HERE = Path(__file__).parent
LINES = 40
"""Last lines of a failed run's log that are shown."""
_NO_TEXT = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Control characters, surrogates and non-characters: HTML cannot hold them, a log line may."""


def render(report: PageContent) -> str:
    """Return the text of `report.html`, without what does not fit (see `analysis.page.page_budget`)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from analysis.formats import cell_text
    from analysis.loading.schema import STATES
    from analysis.page import page_budget, views

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,  # a wrong name in a template raises instead of printing nothing
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Markup: escaping would change the scripts, and the policy allows them by the hash of their text.
    style, theme, script = (Markup(_own(name)) for name in ("page.css", "theme.js", "page.js"))
    columns, same = views.run_columns(report.runs)
    template = environment.get_template("page.html.j2")
    parts = page_budget.PageParts(
        figures=views.figure_views(report.figures),
        tables=[
            views.table_view(table, k, report.table_files.get(table.name, f"{table.name}.csv"))
            for k, table in enumerate(report.tables)
        ],
        runs=[
            (views.value_text(run.get("run")), [views.run_cell(run, column) for column in columns])
            for run in report.runs
        ],
    )
    constant = {
        "report": report,
        "style": style,
        "theme": theme,
        "script": script,
        "policy": _policy(theme, script),
        "commits": {views.short_commit(code): count for code, count in report.commits.items()},
        "triage": views.group_failures(report.failures),
        "run_columns": columns,
        "run_same": same,
        "heading": cell_text.heading,
        "source_note": cell_text.source_note,
        "log_lines": LINES,
        "known_states": STATES,
    }
    while True:
        run_ids = {} if parts.elsewhere("runs") else views.run_ids(report.runs)
        page = _text(template.render(**constant, parts=parts, run_ids=run_ids))
        excess = len(page.encode()) - page_budget.PAGE_BYTES
        if excess <= 0 or not parts.leave_out(excess):
            return page


def _text(page: str) -> str:
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", page.replace("\r\n", "\n").replace("\r", "\n"))


def _own(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").strip()


def _policy(*scripts: str) -> str:
    """The content security policy under which exactly these script texts run, by their hash."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; font-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
