"""Pascal VOC layout (Annotations/*.xml, ImageSets/Main/*.txt, JPEGImages/) to COCO JSON with a data card.

Frames: VOC counts pixels from 1 and both corners belong to the box, so (xmin, ymin, xmax, ymax) becomes COCO's
x = xmin - 1, y = ymin - 1, w = xmax - xmin + 1, h = ymax - ymin + 1 in pixel edges.
What is repaired or dropped is returned as notes, each with the file's name; what cannot be trusted stops it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from PIL import Image, UnidentifiedImageError

from c2d.data.card import Card, make_card
from c2d.data.problems import ProblemsFound
from c2d.data.staging import staged_folder
from c2d.errors import InputError, unknown
from c2d.runfolder import atomic_write_json

Difficult = Literal["crowd", "keep"]
Images = Literal["reference", "copy", "link"]


@dataclass
class VocImage:
    """One image of a split: its file, true size (w, h) in pixels and boxes as (class, COCO x y w h, difficult)."""

    stem: str
    file: Path
    size: tuple[int, int]
    boxes: list[tuple[str, tuple[float, float, float, float], bool]] = field(default_factory=list)


@dataclass(frozen=True)
class Converted:
    """The card that was written, and a line for everything that was dropped or repaired on the way."""

    card: Card
    notes: list[str]


class _Bad(Exception):
    """A defect of one file; collected, so that all of them are told at once."""


def _number(parent: Element, path: str) -> float:
    text = parent.findtext(path)
    try:
        value = float(text) if text is not None else None
    except ValueError:
        value = None
    if value is None or not abs(value) < 1e7:  # also NaN and infinity
        raise _Bad(f"<{path}> is {text!r}; wanted a number")
    return value


def _parse(path: Path) -> Element:
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise _Bad("no such file, but its split lists it") from None
    except (ParseError, DefusedXmlException, OSError, ValueError) as error:
        raise _Bad(f"cannot be read as XML ({error})") from None
    if root is None or root.tag != "annotation":
        raise _Bad(f"the root element is <{root.tag if root is not None else ''}>; wanted <annotation>")
    return root


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise _Bad(f"its image {path.name} does not exist in {path.parent}") from None
    except (UnidentifiedImageError, OSError) as error:
        raise _Bad(f"its image {path.name} cannot be read ({error})") from None


def _find_image(folder: Path, stem: str, named: str | None) -> Path:
    """The image that belongs to an annotation: by its own stem (as VOC does), else by the name inside the XML."""
    for suffix in (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"):
        if (folder / f"{stem}{suffix}").is_file():
            return folder / f"{stem}{suffix}"
    return folder / (Path(named).name if named else f"{stem}.jpg")


def read_annotation(xml: Path, image_folder: Path, notes: list[str]) -> VocImage:
    """Read one XML file and its image's size; appends to `notes`, raises `_Bad` (caught by `convert`) on defects."""
    root = _parse(xml)
    file = _find_image(image_folder, xml.stem, root.findtext("filename"))
    size = _image_size(file)
    stated = (
        (int(_number(root, "size/width")), int(_number(root, "size/height")))
        if root.find("size") is not None
        else (0, 0)
    )
    if 0 in stated:
        notes.append(f"{xml.name}: states no image size; the image's own, {size[0]} x {size[1]}, is used")
    elif stated != size:
        raise _Bad(
            f"states {stated[0]} x {stated[1]} pixels, the image has {size[0]} x {size[1]}; boxes cannot be trusted"
        )
    image = VocImage(xml.stem, file, size)
    for index, item in enumerate(root.findall("object"), start=1):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise _Bad(f"object {index} has no name")
        x1, y1, x2, y2 = (_number(item, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax"))
        what = f"{xml.name}: object {index} ({name}, xmin {x1:g} ymin {y1:g} xmax {x2:g} ymax {y2:g})"
        if x2 <= x1 or y2 <= y1:
            notes.append(f"{what} dropped: no width or height")
            continue
        left, top, right, bottom = max(x1 - 1, 0.0), max(y1 - 1, 0.0), min(x2, size[0]), min(y2, size[1])
        if right - left < 1 or bottom - top < 1:
            notes.append(f"{what} dropped: outside the image of {size[0]} x {size[1]}")
            continue
        if (left, top, right, bottom) != (x1 - 1, y1 - 1, x2, y2):
            notes.append(f"{what} clipped to the image of {size[0]} x {size[1]}")
        difficult = (item.findtext("difficult") or "0").strip() not in ("0", "")
        image.boxes.append((name, (left, top, right - left, bottom - top), difficult))
    return image


def _members(src: Path, split: str) -> list[str]:
    folder = src / "ImageSets" / "Main"
    path = folder / f"{split}.txt"
    if not path.is_file():
        raise unknown("split", split, [p.stem for p in folder.glob("*.txt")], f"looked in {folder}")
    # per-class lists carry a flag in a second column; the name is the first
    stems = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []
    if repeated:
        raise InputError(f"{path} lists {repeated[0]} twice ({len(repeated)} such names); list every image once")
    if not stems:
        raise InputError(f"{path} lists no image; choose another split")
    return stems


def _coco(images: Sequence[VocImage], classes: list[str], difficult: Difficult) -> dict[str, Any]:
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


def _bring(images: Sequence[VocImage], folder: Path, how: Images) -> None:
    folder.mkdir()
    for image in images:
        if how == "copy":
            shutil.copyfile(image.file, folder / image.file.name)
        else:
            os.symlink(image.file.resolve(), folder / image.file.name)


def _class_list(given: Sequence[str] | None, parts: dict[str, list[VocImage]], problems: list[str]) -> list[str]:
    found = {name: image.stem for part in parts.values() for image in part for name, _, _ in image.boxes}
    if given is None:
        return sorted(found)
    hint = "add it to --classes, or correct the XML"
    problems += [
        f"{found[name]}.xml: {unknown('class', name, given, hint)}" for name in sorted(set(found) - set(given))
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
) -> Converted:
    """Convert the VOC data set `src` into the new folder `out` (annotations/instances_<split>.json, card.json).

    splits: {"train": name of a list in ImageSets/Main, "val": ...}. difficult: objects so marked become crowd regions
    (ignored in evaluation, not trained on) or are kept as ordinary ones. classes: the class list and its order; sorted
    names by default. images: referenced where they are, copied, or linked. Raises InputError, with all defects, before
    anything is written.
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
    problems: list[str] = []
    parts: dict[str, list[VocImage]] = {}
    owner: dict[str, str] = {}
    for split, listed in splits.items():
        parts[split] = []
        for stem in _members(src, listed):
            if stem in owner:
                problems.append(
                    f"{stem}: listed in {splits[owner[stem]]}.txt ({owner[stem]}) and {listed}.txt ({split}); a leak"
                )
                continue
            owner[stem] = split
            xml = src / "Annotations" / f"{stem}.xml"
            try:
                parts[split].append(read_annotation(xml, src / "JPEGImages", notes))
            except _Bad as error:
                problems.append(f"{xml.name}: {error}")
    chosen = _class_list(classes, parts, problems)
    if not problems and not any(image.boxes for part in parts.values() for image in part):
        problems.append(f"{src}: no box in any of the splits {', '.join(splits.values())}")
    if problems:
        raise ProblemsFound(f"{src} cannot be converted", problems)
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
        if stage.existing is not None:
            return Converted(stage.existing, notes)
        files: dict[str, tuple[Path, Path]] = {}
        for split, part in parts.items():
            path = stage.path / "annotations" / f"instances_{split}.json"
            atomic_write_json(path, _coco(part, chosen, difficult))
            folder = (src / "JPEGImages").resolve()
            if images != "reference":
                folder = stage.path / split
                _bring(part, folder, images)
            files[split] = (path, folder)
        return Converted(make_card(stage.path, label, chosen, files, source), notes)
