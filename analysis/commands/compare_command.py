"""`c2d compare`: parse, call, print. Nothing heavy is imported before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="a run (folder or id), or a file of detections")],
    b: Annotated[str, typer.Argument(metavar="B", help="the other one; differences are B - A")],
    targets: Annotated[
        Path | None, typer.Option("--targets", metavar="GT.json", help="COCO ground truth of files of detections")
    ] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="the store (default: C2D_RUNS, else ./runs)")] = None,
    images: Annotated[int, typer.Option("--images", min=0, help="images with the largest change to list")] = 10,
    iou: Annotated[float, typer.Option("--iou", help="IoU from which an object is found, and of TIDE")] = 0.5,
    score: Annotated[
        float | None, typer.Option("--score", help="score from which detections count (default: best F1 of each side)")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="resamples of the images")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="of the resamples")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object; numbers in 0-1")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="write the JSON object to this file, too")] = None,
) -> None:
    """Compare two checkpoints on the same images: AP, classes, sizes, TIDE, flipped objects, with intervals."""
    from analysis.commands.extra_packages import check_extra

    check_extra("comparisons")
    from analysis.comparison.compare import compare

    found = compare(a, b, targets=targets, runs=runs, iou=iou, score=score, samples=samples, seed=seed)
    print(found.to_json() if as_json else found.text(images))
    if out is not None:
        from c2d.core.run_folder import atomic_write_text

        atomic_write_text(out, found.to_json() + "\n")
