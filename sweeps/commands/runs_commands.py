"""`c2d runs export|import`: finished runs as one folder for others, and such folders into a store."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Export finished runs as one folder that others can read, and import such folders.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    pass
