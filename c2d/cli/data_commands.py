"""`c2d data ...`: the commands that make and check data sets; those that convert are in `convert_commands`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from c2d.cli.convert_commands import cvat, imagenet, kitti, print_card, print_conversion, voc, yolo

app = typer.Typer(
    help="Make, convert and check data sets in COCO layout, each with a data card.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Placement(StrEnum):
    """Image files of a subset."""

    hardlink = "hardlink"
    copy = "copy"


@app.command()
def scenes(
    out: Path = typer.Argument(..., help="new folder"),
    train: int = typer.Option(600, help="training pictures"),
    val: int = typer.Option(300, help="validation pictures"),
    size: int = typer.Option(160, help="width and height in pixels"),
    seed: int = typer.Option(0, help="another seed draws other pictures"),
) -> None:
    """Draw the procedural scenes (beetles of eight look-alike species) in COCO layout."""
    from c2d.data.scenes.make_scenes import make_scenes

    print_card(out, make_scenes(out, train=train, val=val, size=size, seed=seed))


for command in (voc, kitti, yolo, cvat, imagenet):
    app.command()(command)


@app.command()
def subset(
    src: str = typer.Argument(..., help="data set with a card: its name, folder or card.json"),
    out: Path = typer.Argument(..., help="new folder"),
    train: str = typer.Option(
        ..., metavar="SHARE|N", help="its training images: a share (10% or 0.1) or a number of images (30)"
    ),
    seed: int = typer.Option(0, min=0, help="of the draw; with one seed a smaller subset lies inside a larger one"),
    name: str = typer.Option("", help="name of the new data set (default: NAME-trainN-seedS)"),
    images: Placement = typer.Option(
        Placement.hardlink, help="image files: hard links where the file system allows them, or copies"
    ),
) -> None:
    """Make a data set with a part of the training images of another one; its other splits stay unchanged."""
    from c2d.data.subset.make_subset import make_subset

    print_conversion(out, lambda: make_subset(src, out, train=train, seed=seed, name=name or None, images=images.value))


@app.command()
def fetch(
    name: str = typer.Argument(..., help="coco2017, voc0712 or kitti"),
    out: Path | None = typer.Option(
        None, help="folder of the data set (default: NAME in C2D_DATA, else in ./data)", show_default=False
    ),
    archives: Path | None = typer.Option(
        None, help="folder with archives that were downloaded before; they are verified, used and kept"
    ),
    keep: bool = typer.Option(False, "--keep", help="keep the downloaded archives after they were unpacked"),
    train: Path | None = typer.Option(None, help="kitti: list of image ids to train on (default: a random half)"),
    val: Path | None = typer.Option(None, help="kitti: list of image ids to evaluate on"),
) -> None:
    """Download a public data set from its official place, verify and unpack it, and make its card. Resumable."""
    from c2d.data.card_lookup import data_folder
    from c2d.data.fetch.fetch_dataset import FetchOptions, fetch_dataset
    from c2d.data.fetch.published_cards import Lists

    folder = out if out is not None else data_folder() / name
    options = FetchOptions(archives, keep, Lists(train, val))
    card, changed = fetch_dataset(name, folder, lambda line: typer.echo(line, err=True), options)
    if not changed:
        typer.echo(f"{name} is here; nothing to do", err=True)
    print_card(folder, card)


@app.command("to-8bit")
def to_8bit(
    src: Path = typer.Argument(..., help="folder of images, with its subfolders"),
    out: Path = typer.Argument(..., help="new folder; the images keep their names"),
    maximum: float = typer.Option(..., "--max", help="value that becomes 255, as 4095 for 12 bits"),
    minimum: float = typer.Option(0.0, "--min", help="value that becomes 0"),
) -> None:
    """Write 8-bit copies of images with more bits, with one linear scaling for all; it is recorded in to_8bit.json."""
    from c2d.data.decoding.scaled_copies import write_8bit_copies

    done = write_8bit_copies(src, out, minimum, maximum)
    for name, (low, high) in done.clipped.items():
        typer.echo(f"note: {name}: values {low:g} to {high:g} are clipped to {minimum:g} to {maximum:g}", err=True)
    if done.skipped:
        typer.echo(f"note: {len(done.skipped)} files are no images (first: {done.skipped[0]}) and left out", err=True)
    typer.echo(f"{out}: {done.scaled} images scaled, {minimum:g} to 0 and {maximum:g} to 255; {done.copied} copied")


@app.command()
def check(
    ann: list[Path] = typer.Argument(
        ..., help="COCO JSON files, several are the splits of one data set; or one data card: card.json or its folder"
    ),
    images: list[Path] = typer.Option([], help="folder of the images; once for all files, or once for each in order"),
    json_: bool = typer.Option(False, "--json", help="print the report as JSON"),
    card: Path | None = typer.Option(None, help="write a data card to this card.json when there is no error"),
    name: str = typer.Option("", help="name of the data set in that card"),
    split: list[str] = typer.Option([], help="name of each file's split in the card (default: from the file names)"),
    evaluate_on: str | None = typer.Option(None, help="split that results are measured on (default: val)"),
    min_size: int = typer.Option(32, min=0, help="training drops images with a shorter side below this, in pixels"),
) -> None:
    """Check COCO data sets: ids, sizes, boxes, categories, image files, leaks between splits. Exit 2 on errors."""
    import json

    from c2d.core.errors import InputError
    from c2d.data.card_lookup import verify_card
    from c2d.data.coco.check_card import card_at, splits_of_card, synthesis_lines
    from c2d.data.coco.check_coco import check_coco
    from c2d.data.coco.register_card import pair_images, register_card, split_names, uses_of_splits
    from c2d.data.issues import issue_lines

    loaded = card_at(ann[0]) if len(ann) == 1 else None
    if loaded is not None:
        if images or split or card or name or evaluate_on:
            raise InputError(
                f"{ann[0]} is a data card, which has the images and names of its splits; leave out --images, --split, "
                "--card, --name and --evaluate-on, or give the annotation files"
            )
        splits = splits_of_card(loaded)
        names, evaluate_on = list(splits), loaded.card.evaluation_split
        pairs: list[tuple[Path, Path | None]] = list(splits.values())
    else:
        names, pairs = split_names(ann, split, evaluate_on), pair_images(ann, images)
    evaluated = [file for (file, _), split_name in zip(pairs, names, strict=True) if split_name not in ("", "train")]
    report = check_coco(pairs, min_size=min_size, evaluated=evaluated)
    if json_:
        made = loaded.card.synthesis if loaded is not None else None
        synthesis = {"synthesis": made.model_dump() | {"data_free": made.is_data_free}} if made is not None else {}
        typer.echo(json.dumps(report.to_dict() | synthesis, indent=2, allow_nan=False))
    else:
        for line in issue_lines(report.issues):
            typer.echo(line)
        for file, count in report.counts.items():
            typer.echo(f"{file}: {count['images']} images, {count['boxes']} boxes, {count['crowds']} crowd regions")
            if count["dropped"]:
                reasons = ", ".join(f"{number} {reason}" for reason, number in count["dropped"].items())
                typer.echo(f"{file}: {count['usable_boxes']} boxes can be used; not used: {reasons}")
            if count["soft_labels"]:
                typer.echo(f"{file}: the annotations have soft labels")
            if count["protocol"]:
                typer.echo(f"{file}: the annotations are written for the protocol {count['protocol']}")
        for line in synthesis_lines(loaded.card) if loaded is not None else ():
            typer.echo(line)
        if all(folder is None for _, folder in pairs):
            typer.echo("image files were not checked; give --images DIR")
        typer.echo(f"{len(report.errors)} errors, {len(report.warnings)} warnings")
    if report.errors:
        raise typer.Exit(2)
    if loaded is not None:
        verify_card(loaded)
    if card is None:
        if not json_ and "" not in names:
            typer.echo(uses_of_splits(names, evaluate_on))
        return
    registered = register_card(card, name, pairs, split, report.classes, evaluate_on)
    if not json_:
        print_card(card, registered)
        typer.echo(uses_of_splits(list(registered.splits), registered.evaluation_split))
