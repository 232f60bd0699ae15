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

from c2d.core.errors import InputError, unknown_name
from c2d.core.run_folder import atomic_write_json
from c2d.data.atomic_folder import staged_folder
from c2d.data.card import Card, annotation_digest, card_digest
from c2d.data.issues import InvalidDataset
from c2d.data.make_card import make_card
from c2d.data.voc.voc_xml import BadAnnotation, VocImage, read_annotation

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


def _read_split(src: Path, split: str) -> list[str]:
    folder = src / "ImageSets" / "Main"
    path = folder / f"{split}.txt"
    if not path.is_file():
        raise unknown_name("split", split, [p.stem for p in folder.glob("*.txt")], f"searched: {folder}")
    # per-class lists carry a flag in a second column; the name is the first
    try:
        stems = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); wanted a text file with an image name on each line") from None
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []
    if repeated:
        raise InputError(f"{path} lists {repeated[0]} twice ({len(repeated)} such names); list every image once")
    if not stems:
        raise InputError(f"{path} lists no image; choose another split")
    return stems


def _coco_dict(images: Sequence[VocImage], classes: list[str], difficult: Difficult) -> dict[str, Any]:
    numbers = {name: index for index, name in enumerate(classes, start=1)}
    rows: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        for name, box, hard in image.boxes:
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image_id,
                    "category_id": numbers[name],
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": int(hard and difficult == "crowd"),
                }
            )
    return {
        "images": [
            {"id": i, "file_name": image.file.name, "width": image.size[0], "height": image.size[1]}
            for i, image in enumerate(images, start=1)
        ],
        "annotations": rows,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }


def _place_images(images: Sequence[VocImage], folder: Path, how: Images) -> None:
    folder.mkdir()
    for image in images:
        if how == "copy":
            shutil.copyfile(image.file, folder / image.file.name)
        else:
            os.symlink(image.file.resolve(), folder / image.file.name)


def _class_list(given: Sequence[str] | None, parts: dict[str, list[VocImage]], issues: list[str]) -> list[str]:
    found = {name: image.stem for part in parts.values() for image in part for name, _, _ in image.boxes}
    if given is None:
        return sorted(found)
    hint = "add it to --classes, or correct the XML"
    issues += [
        f"{found[name]}.xml: {unknown_name('class', name, given, hint)}" for name in sorted(set(found) - set(given))
    ]
    return list(given)


def convert(
    src: Path,
    out: Path,
    *,
    splits: dict[str, str] | None = None,
    difficult: Difficult = "crowd",
    classes: Sequence[str] | None = None,
    name: str | None = None,
    images: Images = "reference",
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
    notes: list[str] = []
    issues: list[str] = []
    parts: dict[str, list[VocImage]] = {}
    owner: dict[str, str] = {}
    for split, listed in splits.items():
        parts[split] = []
        for stem in _read_split(src, listed):
            if stem in owner:
                issues.append(
                    f"{stem}: listed in {splits[owner[stem]]}.txt ({owner[stem]}) and {listed}.txt ({split}); a leak"
                )
                continue
            owner[stem] = split
            xml = src / "Annotations" / f"{stem}.xml"
            try:
                parts[split].append(read_annotation(xml, src / "JPEGImages", notes))
            except BadAnnotation as error:
                issues.append(f"{xml.name}: {error}")
    chosen = _class_list(classes, parts, issues)
    if not issues and not any(image.boxes for part in parts.values() for image in part):
        issues.append(f"{src}: no box in any of the splits {', '.join(splits.values())}")
    if issues:
        raise InvalidDataset(f"{src} cannot be converted", issues)
    label = name or out.name
    source = {
        "maker": "c2d data voc",
        "name": label,
        "splits": splits,
        "difficult": difficult,
        "classes": chosen,
        "images": images,
    }
    with staged_folder(out, source) as stage:
        contents = {split: _coco_dict(part, chosen, difficult) for split, part in parts.items()}
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
                folder = stage.path / split
                _place_images(part, folder, images)
            files[split] = (path, folder)
        return Conversion(make_card(stage.path, label, chosen, files, source), notes)
