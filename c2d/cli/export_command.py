"""`c2d export`. Nothing heavy is imported before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2d.cli.commands import Data, Runs


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a finished run of a detector: its id, or its folder")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the folder to write; it must not exist")],
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="folder (default), onnx, openvino; several are written into one folder"),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="images on which graphs are compared with the student")] = 8,
    check: Annotated[
        bool, typer.Option("--check", help="measure the AP of every graph on the whole split; fail beyond 0.1 points")
    ] = False,
    license: Annotated[str, typer.Option("--license", help="licence of the weights, for the model card")] = "unknown",
    runs: Runs = None,
    data: Data = None,
) -> None:
    """Write a run for others: stock weights and config, ONNX with NMS inside, OpenVINO, with a model card."""
    from c2d.core.store_folder import find_run, runs_folder
    from c2d.export.export_run import ExportOptions, export_run

    store = runs_folder(runs)
    options = ExportOptions(tuple(dict.fromkeys(to or ["folder"])), data, images, check, license)
    for path in export_run(find_run(run, store), out, store, options):
        print(f"  {path.name}  {max(1, round(path.stat().st_size / 2**10)):,} KiB")
    print(f"folder: {out}\nnothing was sent; to publish it on the hub: hf upload USER/NAME {out}")
