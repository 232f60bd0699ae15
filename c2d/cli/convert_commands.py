"""`c2d data voc|kitti|yolo|cvat|imagenet`: the commands that convert data sets to COCO JSON with a data card."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from c2d.data.card import Card
    from c2d.data.conversion.write_converted import Conversion


class Difficult(StrEnum):
    """Conversion of VOC objects that are marked difficult."""

    crowd = "crowd"
    keep = "keep"


class Images(StrEnum):
    """Place of the image files of a converted data set."""

    reference = "reference"
    copy = "copy"
    link = "link"


class Origin(StrEnum):
    """Pixel that the coordinates of a VOC box are counted from."""

    one = "1"
    zero = "0"
    edge = "edge"


class Frame(StrEnum):
    """Frame of boxes on an image with an orientation."""

    stored = "stored"
    upright = "upright"


class VocProtocol(StrEnum):
    """Evaluation protocol of a data set in VOC layout, beside COCO's."""

    voc = "voc"


def print_card(out: Path, card: Card) -> None:
    """Print the name, classes, splits and digest of a data set."""
    parts = ", ".join(f"{name} {split.n_images} images {split.n_boxes} boxes" for name, split in card.splits.items())
    typer.echo(f"{out}: data set '{card.name}', {len(card.classes)} classes, {parts}, digest {card.digest[:12]}")


def _names(text: str) -> list[str] | None:
    """Return the names of a list A,B,C; None where there is none."""
    return [part.strip() for part in text.split(",") if part.strip()] or None


def print_conversion(out: Path, convert: Callable[[], Conversion]) -> None:
    """Convert a data set; print its issues, or its notes and its card."""
    from c2d.data.issues import InvalidDataset

    try:
        done = convert()
    except InvalidDataset as error:
        for issue in error.issues:
            typer.echo(f"error: {issue}", err=True)
        raise
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    print_card(out, done.card)


def voc(
    src: Path = typer.Argument(
        ..., help="folder with Annotations, ImageSets/Main and JPEGImages, or VOCdevkit with VOC2007 and VOC2012"
    ),
    out: Path = typer.Argument(..., help="new folder"),
    train: str = typer.Option(
        "train", help="list in ImageSets/Main to train on; of VOCdevkit with its year, 2007/trainval+2012/trainval"
    ),
    val: str = typer.Option("val", help="list to evaluate on, in the same way: 2007/test"),
    difficult: Difficult = typer.Option(Difficult.crowd, help="difficult objects: ignored as crowd regions, or kept"),
    classes: str = typer.Option(
        "", help="class list in the order of the labels, A,B,C (default: the names found, sorted)"
    ),
    name: str = typer.Option("", help="name of the data set (default: OUT's)"),
    images: Images = typer.Option(Images.reference, help="image files: referenced in place, copied, or linked"),
    merge_spellings: bool = typer.Option(
        False, "--merge-spellings", help="class names that differ in case or blanks alone are one class"
    ),
    origin: Origin | None = typer.Option(
        None, help="boxes are in pixels counted from 1 (VOC, the default) or 0, or in pixel edges counted from 0"
    ),
    frame: Frame | None = typer.Option(
        None, help="frame of boxes on images with an EXIF orientation, where sizes do not tell it"
    ),
    protocol: VocProtocol | None = typer.Option(
        None, help="voc: results have the VOC numbers beside COCO's (always so with VOCdevkit)"
    ),
) -> None:
    """Convert Pascal VOC layout to COCO JSON with a data card."""
    from c2d.data.voc.convert_voc import convert

    print_conversion(
        out,
        lambda: convert(
            src,
            out,
            splits={"train": train, "val": val},
            difficult=difficult.value,
            name=name or None,
            classes=_names(classes),
            images=images.value,
            merge=merge_spellings,
            origin=origin.value if origin is not None else None,
            frame=frame.value if frame is not None else None,
            protocol="voc" if protocol is not None else None,
        ),
    )


def kitti(
    src: Path = typer.Argument(..., help="folder with training/image_2 and training/label_2"),
    out: Path = typer.Argument(..., help="new folder"),
    train: Path | None = typer.Option(
        None, help="list of image ids to train on, one a line (as Chen et al. have them)"
    ),
    val: Path | None = typer.Option(None, help="list of image ids to evaluate on"),
    val_share: float | None = typer.Option(None, help="instead of lists: share drawn at random to evaluate on"),
    seed: int = typer.Option(0, help="of that draw"),
    classes: str = typer.Option("Car,Pedestrian,Cyclist", help="class list in the order of the labels, A,B,C"),
    merge: list[str] = typer.Option(
        [], help="TYPE=CLASS: objects of a type are boxes of a class, as Van=Car; repeat it"
    ),
    name: str = typer.Option("", help="name of the data set (default: OUT's)"),
    images: Images = typer.Option(Images.reference, help="image files: referenced in place, copied, or linked"),
) -> None:
    """Convert KITTI's 2D objects to COCO JSON.

    DontCare regions, and Van and Person_sitting unless they are merged, are ignored in training and evaluation.
    """
    from c2d.core.errors import InputError
    from c2d.data.kitti.convert_kitti import convert_kitti

    pairs = [tuple(part.strip() for part in text.split("=")) for text in merge]
    if wrong := [text for text, pair in zip(merge, pairs, strict=True) if len(pair) != 2 or not all(pair)]:
        raise InputError(f"--merge {wrong[0]}; wanted TYPE=CLASS, as Van=Car")
    if len({pair[0] for pair in pairs}) < len(pairs):
        raise InputError(f"--merge {', '.join(merge)} has a type twice; a type has one class")
    print_conversion(
        out,
        lambda: convert_kitti(
            src,
            out,
            train=train,
            val=val,
            val_share=val_share,
            seed=seed,
            classes=_names(classes),
            merge={pair[0]: pair[1] for pair in pairs},
            name=name or None,
            images=images.value,
        ),
    )


def imagenet(
    src: Path = typer.Argument(..., help="folder with train/CLASS/IMAGE and val/, as ImageNet is unpacked"),
    out: Path = typer.Argument(..., help="new folder; the images stay where they are"),
    name: str = typer.Option("", help="name of the data set (default: OUT's); imagenet is ImageNet-1k itself"),
    val_labels: Path | None = typer.Option(
        None, help="labels of val/ without class folders: lines NAME CLASS, or the devkit's ground truth"
    ),
    workers: int | None = typer.Option(
        None, min=1, help="processes that read headers (default: the cores, at most 16)"
    ),
) -> None:
    """Convert ImageNet, or any tree with a folder for each class, to COCO JSON whose boxes are whole images."""
    from c2d.data.imagenet.convert_imagenet import convert
    from c2d.data.imagenet.header_sizes import available_processes

    print_conversion(
        out,
        lambda: convert(
            src,
            out,
            name=name or None,
            val_labels=val_labels,
            workers=workers or available_processes(),
            print_line=lambda line: typer.echo(line, err=True),
        ),
    )


def yolo(
    src: Path = typer.Argument(..., help="folder with data.yaml or darknet's .data file, or that file"),
    out: Path = typer.Argument(..., help="new folder"),
    train: str = typer.Option("train", help="key of the file that names the images to train on"),
    val: str = typer.Option("", help="key that names the images to evaluate on (default: val, else valid)"),
    name: str = typer.Option("", help="name of the data set (default: OUT's)"),
    images: Images = typer.Option(Images.reference, help="image files: referenced in place, copied, or linked"),
) -> None:
    """Convert YOLO text labels to COCO JSON.

    Polygons and oriented boxes become the upright boxes around them.
    """
    from c2d.data.yolo.convert_yolo import convert_yolo

    print_conversion(
        out,
        lambda: convert_yolo(src, out, train=train, val=val or None, name=name or None, images=images.value),
    )


def cvat(
    src: Path = typer.Argument(..., help="folder with annotations.xml and images, or the path of the XML file"),
    out: Path = typer.Argument(..., help="new folder"),
    train: str = typer.Option("", help="XML file in SRC, or subset, to train on (default: the subset train)"),
    val: str = typer.Option("", help="XML file in SRC, or subset, to evaluate on (default: the subset val)"),
    val_share: float | None = typer.Option(None, help="instead of these: share drawn at random to evaluate on"),
    seed: int = typer.Option(0, help="of that draw"),
    name: str = typer.Option("", help="name of the data set (default: OUT's)"),
    images: Images = typer.Option(Images.reference, help="image files: referenced in place, copied, or linked"),
) -> None:
    """Convert CVAT for images 1.1 to COCO JSON.

    Polygons and rotated boxes become the upright boxes around them; other shapes are left out.
    """
    from c2d.data.cvat.convert_cvat import convert_cvat

    print_conversion(
        out,
        lambda: convert_cvat(
            src,
            out,
            train=train or None,
            val=val or None,
            val_share=val_share,
            seed=seed,
            name=name or None,
            images=images.value,
        ),
    )
