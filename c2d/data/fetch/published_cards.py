"""The data card of unpacked files: COCO's own annotations as they are, VOC's and KITTI's after their conversion.

The checks and converters are imported when they run: a call that has nothing to do is quick.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from c2d.core.download.remote_file import PrintLine
from c2d.core.errors import InputError, RunError
from c2d.data.card import Card
from c2d.data.card_lookup import load_card
from c2d.data.issues import issue_lines
from c2d.data.make_card import make_card

CONVERTED = ".converted"
"""Folder of a conversion inside the data set, until its files have their places."""
VOC_SPLITS = {"train": "2007/trainval+2012/trainval", "val": "2007/test"}
KITTI_VAL_SHARE = 0.5
UNREADABLE = ("missing folder", "missing image", "unreadable image", "unreadable")
"""Kinds of errors about a file on this disk, which is got again; the others are about the published content."""


class Lists(NamedTuple):
    """Files with the image ids of a split, where the publisher has none; None: a random split.

    Attributes:
        train: ids to train on.
        val: ids to evaluate on.
    """

    train: Path | None = None
    val: Path | None = None


NO_LISTS = Lists()


def make_published_card(layout: str, out: Path, name: str, lists: Lists, print_line: PrintLine) -> Card:
    """Write `out`/card.json of unpacked files.

    Args:
        layout: a key of `LAYOUTS`.
        out: folder of the unpacked files.
        name: name of the data set.
        lists: of KITTI.
        print_line: called with the notes of the conversion.

    Raises:
        RunError: files cannot be read.
        InvalidDataset: they cannot be converted.
    """
    return LAYOUTS[layout](out, name, lists, print_line)


def _coco(out: Path, name: str, lists: Lists, print_line: PrintLine) -> Card:
    from c2d.data.coco.check_coco import check_coco
    from c2d.data.coco.register_card import register_card

    splits = ("train", "val")
    pairs: list[tuple[Path, Path | None]] = [
        (out / "annotations" / f"instances_{split}2017.json", out / f"{split}2017") for split in splits
    ]
    print_line("checking the annotations; every image is decoded once")
    report = check_coco(pairs, evaluated=[pairs[1][0]])
    if unreadable := [issue.line() for issue in report.errors if issue.kind in UNREADABLE]:
        raise RunError(
            f"{len(unreadable)} files in {out} cannot be read (first: {unreadable[0]}); remove the folder that they "
            "are in, and call the same command again",
            "data",
        )
    # The annotations are those that were published, so what is wrong in them is a fact about the data set.
    for line in issue_lines(report.errors):
        print_line(f"note: in the published files: {line}")
    return register_card(out, name, pairs, splits, report.classes)


def _voc(out: Path, name: str, lists: Lists, print_line: PrintLine) -> Card:
    from c2d.data.voc.convert_voc import convert

    print_line("converting the annotations; every image is decoded once")
    done = convert(out / "VOCdevkit", out / CONVERTED, splits=VOC_SPLITS, name=name, published=True)
    return _with_files_inside(out, done.notes, print_line)


def _kitti(out: Path, name: str, lists: Lists, print_line: PrintLine) -> Card:
    from c2d.data.kitti.convert_kitti import convert_kitti

    print_line("converting the labels; every image is decoded once")
    share = None if lists.train or lists.val else KITTI_VAL_SHARE
    done = convert_kitti(
        out, out / CONVERTED, train=lists.train, val=lists.val, val_share=share, name=name, published=True
    )
    if share is not None:
        print_line(
            "note: KITTI's validation labels are not public, so half of the images, drawn at random, is `val`; give "
            "--train and --val with lists of image ids for another split"
        )
    return _with_files_inside(out, done.notes, print_line)


def _with_files_inside(out: Path, notes: list[str], print_line: PrintLine) -> Card:
    """Move a converted data set beside its images, so that its card names files inside its folder alone."""
    for note in notes:
        print_line(f"note: {note}")
    converted = load_card(str(out / CONVERTED))
    files: dict[str, tuple[Path, Path]] = {}
    (out / "annotations").mkdir(exist_ok=True)
    for split in converted.card.splits:
        source = converted.annotations(split)
        target = out / "annotations" / source.name
        os.replace(source, target)
        files[split] = (target, converted.images(split))
    card = converted.card
    written = make_card(out, card.name, card.classes, files, card.source, card.evaluation_split, protocol=card.protocol)
    shutil.rmtree(out / CONVERTED)
    return written


LAYOUTS: dict[str, Callable[[Path, str, Lists, PrintLine], Card]] = {"coco": _coco, "voc": _voc, "kitti": _kitti}


def check_lists(layout: str, lists: Lists) -> None:
    """Check that lists of a split are given where they have a meaning.

    Raises:
        InputError: they are of a data set with a split of its own, or one of the two is missing.
    """
    if lists == NO_LISTS:
        return
    if layout != "kitti":
        raise InputError(
            "--train and --val are lists of kitti, whose split is yours; leave them out for other data sets"
        )
    if lists.train is None or lists.val is None:
        raise InputError("give both lists, --train and --val, or none for a random split")
    for path in lists:
        if path is not None and not path.is_file():
            raise InputError(f"no file {path}; wanted a list of image ids, one a line")
