"""`c2d teacher`: what a network offers as a classifier teacher, and text embeddings for one."""

from __future__ import annotations

from pathlib import Path
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
    network: Annotated[str, typer.Argument(help="a torchvision name, timm:NAME or student:NAME")],
    input: Annotated[int, typer.Option(min=1, help="side of the crops in px")] = 112,
) -> None:
    """List a network's layers for the features of a distillation, with the sizes of their maps."""
    from c2d.preflight.teacher_layers import layer_table

    print(layer_table(network, input))


@app.command()
def text_embeddings(
    names: Annotated[str, typer.Argument(help="a data card, a text file with one class a line, or names: A,B,C")],
    model: Annotated[str, typer.Argument(help="open_clip:MODEL/WEIGHTS; with --random a network: timm:NAME")],
    out: Annotated[Path, typer.Option(help="the file to write")],
    templates: Annotated[
        Path | None, typer.Option(help="text file with one prompt a line, {} is the name (default: a photo of a {}.)")
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(min=0, max=2**63 - 1, help="seed of random embeddings, for trials without a text tower"),
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="let open_clip fetch weights")] = False,
    data: Annotated[Path | None, typer.Option(help="root of the data cards (default: C2D_DATA, else ./data)")] = None,
) -> None:
    """Write embeddings of class names for classifiers with fit: zero-shot."""
    from c2d.preflight.write_text_embeddings import write_text_embeddings

    print(write_text_embeddings(names, model, out, templates=templates, data=data, random=random, download=download))
