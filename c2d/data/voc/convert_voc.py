"""Convert Pascal VOC layout (Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages/) to COCO JSON with a data card.

What is corrected or dropped is returned as notes with file names. Anything that cannot be trusted is an error.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from c2d.core.errors import InputError
from c2d.core.run_folder import atomic_write_json
from c2d.data.card import Card, annotation_digest, card_digest
from c2d.data.conversion.atomic_folder import staged_folder
from c2d.data.issues import InvalidDataset
from c2d.data.make_card import make_card
from c2d.data.usable_boxes import MIN_IMAGE_PX, count_usable, nothing_usable
from c2d.data.voc.voc_boxes import VocImage
from c2d.data.voc.voc_frame import Frame, Origin
from c2d.data.voc.voc_splits import read_splits

Difficult = Literal["crowd", "keep"]
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


def _coco_dict(images: Sequence[VocImage], classes: list[str], difficult: Difficult) -> dict[str, Any]:
    numbers = {name: index for index, name in enumerate(classes, start=1)}
    rows: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        for item, box in image.boxes:
            flags = {key: value for key, value in item.flags.items() if key != "difficult"}
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image_id,
                    "category_id": numbers[item.name],
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": int(item.flags.get("difficult", 0) and difficult == "crowd"),
                    **flags,
                }
            )
    return {
        "images": [
            {"id": i, "file_name": image.file_name, "width": image.size[0], "height": image.size[1]}
            for i, image in enumerate(images, start=1)
        ],
        "annotations": rows,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }


def _place_images(images: Sequence[VocImage], source: Path, folder: Path, how: Images) -> None:
    for image in images:
        target = folder / image.file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "copy":
            shutil.copyfile(source / image.file_name, target)
        else:
            os.symlink((source / image.file_name).resolve(), target)


def _unused_splits(contents: dict[str, dict[str, Any]]) -> list[str]:
    """Return a note for each split without a box that runs can use."""
    notes = []
    for split, coco in contents.items():
        counted = count_usable(coco, MIN_IMAGE_PX if split == "train" else 0)
        if not counted.usable:
            keep = "; --difficult keep makes difficult objects boxes" if counted.total else ""
            notes.append(f"split {split} {nothing_usable(counted, 'that runs can use')}{keep}")
    return notes


def convert(
    src: Path,
    out: Path,
    *,
    splits: dict[str, str] | None = None,
    difficult: Difficult = "crowd",
    classes: Sequence[str] | None = None,
    name: str | None = None,
    images: Images = "reference",
    merge: bool = False,
    origin: Origin | None = None,
    frame: Frame | None = None,
) -> Conversion:
    """Convert a VOC data set.

    Args:
        src: folder of the VOC data set.
        out: new folder; gets annotations/instances_<split>.json and card.json.
        splits: {split: name of a list in ImageSets/Main}; train and val by default.
        difficult: objects marked difficult become crowd regions (not trained on, ignored in evaluation), or are kept.
        classes: class names in the order of the labels; the names found, sorted, by default.
        name: name of the data set; that of `out` by default.
        images: image files are referenced where they are, copied, or linked.
        merge: class names that differ in case or blanks alone are one class.
        origin: pixel that counting starts at; None: 1, with a note where the boxes speak against it.
        frame: frame of the boxes of images with an orientation, where sizes do not tell it.

    Raises:
        InvalidDataset: all issues of the files; nothing is written.
        InputError: a folder or list is missing; `out` holds something else.
    """
    splits = splits or {"train": "train", "val": "val"}
    src, out = Path(src), Path(out)
    for folder in (src, src / "Annotations", src / "ImageSets" / "Main", src / "JPEGImages"):
        if not folder.is_dir():
            raise InputError(
                f"no folder {folder}; SRC has to hold Annotations, ImageSets/Main and JPEGImages (Pascal VOC)"
            )
    if classes is not None and len(set(classes)) < len(classes):
        raise InputError(f"--classes {','.join(classes)} names a class twice; name every class once")
    reading = read_splits(src, splits, classes=classes, merge=merge, origin=origin, frame=frame)
    parts, issues, notes = reading.splits, reading.issues, reading.notes
    if not issues and not any(image.boxes for part in parts.values() for image in part):
        issues.append(f"{src}: no box in any of the splits {', '.join(splits.values())}")
    if issues:
        raise InvalidDataset(f"{src} cannot be converted", issues)
    found = {item.name for part in parts.values() for image in part for item, _ in image.boxes}
    chosen = sorted(found) if classes is None else list(classes)
    label = name or out.name
    source: dict[str, Any] = {
        "maker": "c2d data voc",
        "name": label,
        "splits": splits,
        "difficult": difficult,
        "classes": chosen,
        "images": images,
    }
    source |= {key: value for key, value in (("merge", merge), ("origin", origin), ("frame", frame)) if value}
    contents = {split: _coco_dict(part, chosen, difficult) for split, part in parts.items()}
    notes += _unused_splits(contents)
    with staged_folder(out, source) as stage:
        if stage.existing is not None:
            # Equal options do not mean equal XML files, so the content is compared as well.
            if stage.existing.digest != card_digest(chosen, {s: annotation_digest(c) for s, c in contents.items()}):
                raise InputError(f"{out} holds other boxes than {src} has now; give another folder, or remove {out}")
            return Conversion(stage.existing, notes)
        files: dict[str, tuple[Path, Path]] = {}
        for split, part in parts.items():
            path = stage.path / "annotations" / f"instances_{split}.json"
            atomic_write_json(path, contents[split])
            folder = (src / "JPEGImages").resolve()
            if images != "reference":
                _place_images(part, folder, stage.path / split, images)
                folder = stage.path / split
            files[split] = (path, folder)
        return Conversion(make_card(stage.path, label, chosen, files, source), notes)
