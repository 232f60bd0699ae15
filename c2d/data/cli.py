"""`c2d data scenes|voc|check`: make, convert and check data sets. Parse, call, print."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

app = typer.Typer(
    help="Make, convert and check data sets in COCO layout, each with a data card.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Difficult(StrEnum):
    """What becomes of VOC objects marked difficult."""

    crowd = "crowd"
    keep = "keep"


class Images(StrEnum):
    """What becomes of the image files of a converted data set."""

    reference = "reference"
    copy = "copy"
    link = "link"


def _told(out: Path, card: object) -> None:
    from c2d.data.card import Card

    assert isinstance(card, Card)
    parts = ", ".join(f"{name} {split.n_images} images {split.n_boxes} boxes" for name, split in card.splits.items())
    typer.echo(f"{out}: data set '{card.name}', {len(card.classes)} classes, {parts}, digest {card.digest[:12]}")


@app.command()
def scenes(
    out: Path = typer.Argument(..., help="new folder"),
    train: int = typer.Option(600, help="training pictures"),
    val: int = typer.Option(300, help="validation pictures"),
    size: int = typer.Option(160, help="width and height in pixels"),
    seed: int = typer.Option(0, help="another seed draws other pictures"),
) -> None:
    """Draw the procedural scenes (beetles of eight look-alike species) in COCO layout."""
    from c2d.data.scenes import make_scenes

    _told(out, make_scenes(out, train=train, val=val, size=size, seed=seed))


@app.command()
def voc(
    src: Path = typer.Argument(..., help="folder with Annotations, ImageSets/Main and JPEGImages"),
    out: Path = typer.Argument(..., help="new folder"),
    train: str = typer.Option("train", help="list in ImageSets/Main to train on"),
    val: str = typer.Option("val", help="list in ImageSets/Main to evaluate on"),
    difficult: Difficult = typer.Option(Difficult.crowd, help="difficult objects: ignored as crowd regions, or kept"),
    classes: str = typer.Option("", help="class list in the wanted order, A,B,C (default: the names found, sorted)"),
    name: str = typer.Option("", help="name of the data set (default: OUT's)"),
    images: Images = typer.Option(Images.reference, help="image files: referenced in place, copied, or linked"),
) -> None:
    """Convert Pascal VOC layout to COCO JSON with a data card."""
    from c2d.data.issues import ProblemsFound
    from c2d.data.voc import convert

    try:
        done = convert(
            src,
            out,
            splits={"train": train, "val": val},
            difficult=difficult.value,
            name=name or None,
            classes=[part.strip() for part in classes.split(",") if part.strip()] or None,
            images=images.value,
        )
    except ProblemsFound as error:
        for problem in error.problems:
            typer.echo(f"error: {problem}", err=True)
        raise
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    _told(out, done.card)


@app.command()
def check(
    ann: list[Path] = typer.Argument(..., help="COCO JSON files; several are the splits of one data set"),
    images: list[Path] = typer.Option([], help="folder of the images; once for all files, or once for each in order"),
    json_: bool = typer.Option(False, "--json", help="print the report as JSON"),
    card: Path | None = typer.Option(None, help="write a data card to this card.json when there is no error"),
    name: str = typer.Option("", help="name of the data set in that card"),
    split: list[str] = typer.Option([], help="name of each file's split in the card (default: from the file names)"),
) -> None:
    """Check COCO data sets: ids, sizes, boxes, categories, image files, leaks between splits. Exit 2 on errors."""
    import json

    from c2d.data.check_coco import check as run_check
    from c2d.data.issues import lines
    from c2d.data.register import pair, register

    pairs = pair(ann, images)
    report = run_check(pairs)
    made = register(card, name, pairs, split, report) if card is not None and not report.errors else None
    if json_:
        typer.echo(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        for line in lines(report.problems):
            typer.echo(line)
        for file, count in report.counts.items():
            typer.echo(f"{file}: {count['images']} images, {count['boxes']} boxes, {count['crowds']} crowd regions")
        if not images:
            typer.echo("image files were not looked at; give --images DIR")
        typer.echo(f"{len(report.errors)} errors, {len(report.warnings)} warnings")
    if report.errors:
        raise typer.Exit(2)
    if made is not None and card is not None and not json_:
        _told(card, made)
