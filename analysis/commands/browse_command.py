"""`c2d browse`: parse, call, print. Nothing heavy is imported before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def browse(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN [RUN]", help="one, or two on the same images: run (folder or id), or detections"),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="the page (default: ./browse-RUN.html)")
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option("--targets", metavar="GT.json", help="COCO ground truth of files of detections"),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option("--teacher", metavar="own|RUN", help="verdicts of a classifier on the boxes; needs torch, once"),
    ] = None,
    images: Annotated[int | None, typer.Option("--images", help="most images (default: as many as fit)")] = None,
    max_mib: Annotated[float, typer.Option("--max-mib", help="size of the page in MiB")] = 20.0,
    side: Annotated[int, typer.Option("--side", help="largest side of a picture in pixels")] = 640,
    min_score: Annotated[float, typer.Option("--min-score", help="detections below it are left out")] = 0.05,
    iou: Annotated[float, typer.Option("--iou", help="IoU of a correct location")] = 0.5,
    image_folder: Annotated[
        Path | None, typer.Option("--image-folder", metavar="DIR", help="the image files (default: of the data set)")
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--runs", help="the store of all runs (default: C2D_RUNS, else ./runs)")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA, else ./data)")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="of --teacher (default: cuda:0, else cpu)")] = None,
) -> None:
    """Write one page to look at the errors of a detector, or of two, image by image. Run folders never change."""
    import os

    from analysis.commands.extra_packages import check_extra
    from c2d.core.errors import InputError
    from c2d.core.store_folder import named_store

    check_extra("pages of errors")
    if data and not data.is_dir():
        raise InputError(f"--data {data} is no folder; give the root of the data cards")
    if data:  # figures find pixels by the same variable as the rest of the suite
        os.environ["C2D_DATA"] = str(data)
    from analysis.browse.browse_page import BrowseRequest, write_browse_page

    request = BrowseRequest(
        tuple(runs), named_store(store), targets, out, image_folder, data, images, max_mib, side, min_score, iou,
        teacher, device,
    )  # fmt: skip
    page = write_browse_page(request, lambda line: print(line, flush=True))
    chosen = "all" if page.shown == page.total else f"{page.shown:,} of"
    without = f", {page.without_picture:,} of them without a picture" if page.without_picture else ""
    print(f"{page.path}: {chosen} {page.total:,} images{without}, {page.bytes / 2**20:.1f} MiB")
