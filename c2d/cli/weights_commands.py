"""`c2d weights compare`: two weight files, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

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


@app.command()
def compare(
    first: str = typer.Argument(
        ..., metavar="A", help="torchvision:MODEL.WEIGHTS, timm:NAME, package:NAME, a file, or a run"
    ),
    second: str = typer.Argument(..., metavar="B", help="the same"),
    runs: Path | None = typer.Option(None, help="the store of runs (default: C2D_RUNS, else ./runs)"),
    download: bool = typer.Option(False, "--download", help="fetch a file that is not in its cache"),
) -> None:
    """Compare weights key by key, first layers also flipped (BGR) and scaled. Exit 0 equal, 1 different."""
    from c2d.core.store_folder import runs_folder
    from c2d.preflight.compare_weights import compare_sources

    report = compare_sources(first, second, runs_folder(runs), download=download)
    for line in report.lines:
        typer.echo(line)
    if not report.are_equal:
        raise typer.Exit(1)
