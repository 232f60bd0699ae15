"""`c2d weights compare`: two weight files, tensor by tensor."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="Look into weight files.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    pass
