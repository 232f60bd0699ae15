"""Write a converted data set: COCO files, a card, and copies of the images on request."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import Card, Protocol, annotation_digest, card_digest
from c2d.data.conversion.atomic_folder import staged_folder
from c2d.data.conversion.coco_content import ConvertedImage, coco_content
from c2d.data.make_card import make_card
from c2d.data.usable_boxes import MIN_IMAGE_PX, count_usable, nothing_usable

Images = Literal["reference", "copy", "link"]


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        card: the card that was written.
        notes: a line for everything that was dropped or corrected.
    """

    card: Card
    notes: list[str]


def write_converted(
    out: Path,
    splits: Mapping[str, Sequence[ConvertedImage]],
    folders: Mapping[str, Path],
    *,
    src: Path,
    name: str,
    classes: Sequence[str],
    source: dict[str, Any],
    images: Images,
    protocol: Protocol | None = None,
    notes: Sequence[str] = (),
    unused_hint: str = "",
) -> Conversion:
    """Write `out`, or return its card if it is this data set already.

    Args:
        out: new folder; gets annotations/instances_<split>.json and card.json.
        splits: {split: its images}.
        folders: {split: folder that the file names of its images start at}.
        src: folder of the layout, for messages.
        name: name of the data set.
        classes: class names in the order of the labels.
        source: how it is made, for the card.
        images: image files are referenced where they are, copied, or linked.
        protocol: evaluation protocol of the data set beside COCO's, or None.
        notes: of the conversion so far.
        unused_hint: what makes boxes usable in a split without a usable box, for the note about it.

    Raises:
        InputError: `out` holds something else; an image is outside its folder.
    """
    classes = list(classes)
    check_inside(src, (image.file_name for part in splits.values() for image in part))
    contents = {split: coco_content(part, classes) for split, part in splits.items()}
    all_notes = [*notes, *unused_splits(contents, unused_hint)]
    with staged_folder(out, source) as stage:
        if stage.existing is not None:
            # Equal options do not mean equal annotation files, so the content is compared as well.
            digests = {split: annotation_digest(content) for split, content in contents.items()}
            if stage.existing.digest != card_digest(classes, digests, protocol=protocol):
                raise InputError(f"{out} holds other boxes than {src} has now; give another folder, or remove {out}")
            return Conversion(stage.existing, all_notes)
        files: dict[str, tuple[Path, Path]] = {}
        for split, content in contents.items():
            path = stage.path / "annotations" / f"instances_{split}.json"
            atomic_write_json(path, content)
            folder = folders[split].resolve()
            if images != "reference":
                _place_images((image.file_name for image in splits[split]), folder, stage.path / split, images)
                folder = stage.path / split
            files[split] = (path, folder)
        card = make_card(stage.path, name, classes, files, source, protocol=protocol)
    return Conversion(card, all_notes)


def check_inside(src: Path, names: Iterable[str]) -> None:
    """Refuse names that lead out of a folder: a copy of such an image would be written outside the new one.

    Args:
        src: what has the names, for the message.
        names: paths of images below their folder.

    Raises:
        InputError: one leads out.
    """
    for name in names:
        if name.startswith("/") or ".." in name.split("/"):
            raise InputError(f"{src}: the image {name[:200]!a} is outside the folder of the others; move it there")


def _place_images(names: Iterable[str], source: Path, folder: Path, how: Images) -> None:
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "copy":
            shutil.copyfile(source / name, target)
        else:
            os.symlink((source / name).resolve(), target)


def unused_splits(contents: Mapping[str, dict[str, Any]], hint: str) -> list[str]:
    """Return a note for each split without a box that runs can use.

    Args:
        contents: {split: content of its file}.
        hint: what makes boxes usable, for the note.
    """
    notes = []
    for split, coco in contents.items():
        counted = count_usable(coco, MIN_IMAGE_PX if split == "train" else 0)
        if not counted.usable:
            fix = f"; {hint}" if hint and counted.total else ""
            notes.append(f"split {split} {nothing_usable(counted, 'that runs can use')}{fix}")
    return notes
