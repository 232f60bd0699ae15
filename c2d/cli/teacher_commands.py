"""`c2d teacher layers`: what a network offers as a classifier teacher, before it is trained."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Classifier teachers: what a network offers, and what is prepared for one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Classifier teachers: what a network offers, and what is prepared for one."""


@app.command()
def layers(
    network: Annotated[str, typer.Argument(help="a torchvision name, or timm:NAME")],
    input: Annotated[int, typer.Option(min=1, help="side of the crops in px")] = 112,
) -> None:
    """List a network's layers for the features of a distillation, with the sizes of their maps."""
    from c2d.preflight.teacher_layers import layer_table

    print(layer_table(network, input))
