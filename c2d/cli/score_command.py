"""`c2d score`: parse, call, print. Nothing heavy is imported before the command runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

_OF_CLASS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "boxes", "detections")


def score(
    targets: Annotated[Path, typer.Argument(metavar="TARGETS", help="COCO ground truth, .json or .json.gz")],
    detections: Annotated[Path, typer.Argument(metavar="DETECTIONS", help="COCO results list, .json or .json.gz")],
    check: Annotated[
        bool, typer.Option("--check", help="run both engines; fail beyond 1e-6 (COCO) or 0.05 AP (TIDE)")
    ] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="the numbers of each class, too")] = False,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--protocol", metavar="voc|kitti", help="their AP, too; the annotations need its flags"),
    ] = None,
    iou: Annotated[float, typer.Option("--iou", help="IoU of a correct localisation in TIDE")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object; numbers in 0-1")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="write the JSON object to this file, too")] = None,
) -> None:
    """Score a file of detections against COCO ground truth, without a run and without torch."""
    import json

    from c2d.metrics.scoring.score_files import score_files

    result, lines = score_files(targets, detections, check=check, protocols=protocol or (), tide_iou=iou)
    if as_json:
        print(json.dumps({**result, **({"check": lines} if check else {})}, indent=2, allow_nan=False))
    else:
        for line in (*_text(result, per_class), *lines):
            print(line)
    if out is not None:
        from c2d.core.run_folder import atomic_write_json

        atomic_write_json(out, result)


def _text(result: Mapping[str, Any], per_class: bool) -> Iterator[str]:
    from c2d.metrics.coco import NUMBERS

    files = result["files"]
    yield (
        f"{files['detections']} on {files['targets']}: {result['detections']:,} detections, {result['images']:,} "
        f"images, {result['boxes']:,} objects, {result['crowds']:,} crowd regions, {len(result['per_class'])} classes"
    )
    yield ""
    for names in (list(NUMBERS)[:6], list(NUMBERS)[6:]):
        yield "".join(f"{name:>8}" for name in names)
        yield "".join(f"{_percent(result[name]):>8}" for name in names)
    for name, block in result.get("protocols", {}).items():
        yield ""
        yield f"{name.upper()}  " + "  ".join(f"{k} {_percent(v)}" for k, v in block.items() if k.startswith("AP"))
    tide = result["tide"]
    yield ""
    yield f"TIDE at IoU {tide['iou']:g}: AP lost to each type of error, and number of errors"
    errors = list(tide["dAP"])
    yield "".join(f"{name:>10}" for name in errors)
    yield "".join(f"{_percent(tide['dAP'][name]):>10}" for name in errors)
    yield "".join(f"{tide['counts'][name]:>10,}" for name in errors if name in tide["counts"])
    for line in (*result["warnings"], *tide["warnings"]):
        yield f"warning: {line}"
    if per_class:
        yield ""
        yield from _table(result["per_class"])
    yield ""
    yield f"{result['engine']['name']} {result['engine']['version']}; AP and AR in percent; - is undefined (no objects)"


def _table(classes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    rows: list[Sequence[str]] = [("class", *_OF_CLASS)]
    for name, one in classes.items():
        values = (f"{one[key]:,}" if key in ("boxes", "detections") else _percent(one[key]) for key in _OF_CLASS)
        rows.append((name, *values))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join([row[0].ljust(widths[0]), *cells])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
