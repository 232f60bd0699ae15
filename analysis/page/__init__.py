"""The one-page report: a `PageContent` as one HTML file that loads nothing from outside.

Everything is inside: style, script, drawings, data. A content security policy in the file allows no address and no
script but its own, so that even a text that was not escaped could do nothing. All content is there without the
script; the scripts add sorting, filters, the panel behind a number, zoom of figures, and the button for the dark theme.
"""

from __future__ import annotations

from analysis.page.page_model import PageContent
from analysis.page.page_shell import HERE, page_asset, page_text
from c2d.markup.page_policy import page_policy

LINES = 40
"""Last lines of a failed run's log that are shown."""


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
    style = Markup("\n\n".join(page_asset(name) for name in ("base.css", "page.css", "zoom.css")))
    theme, button, zoom, script = (
        Markup(page_asset(name)) for name in ("theme.js", "theme_button.js", "zoom.js", "page.js")
    )
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
        "button": button,
        "zoom": zoom,
        "script": script,
        "policy": page_policy(theme, button, zoom, script),
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
        page = page_text(template.render(**constant, parts=parts, run_ids=run_ids))
        excess = len(page.encode()) - page_budget.PAGE_BYTES
        if excess <= 0 or not parts.leave_out(excess):
            return page
