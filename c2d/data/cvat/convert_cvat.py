"""Convert CVAT for images 1.1 to COCO JSON with a data card.

The file is checked here, and hotcoco reads its boxes and polygons. hotcoco alone would read a rotated box as if it were
not, leave out other shapes, occluded flags and attributes without naming them, add labels that the file does not
define, take a file that breaks off for a whole one, and keep &amp; in the names of images.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, abbreviate, first_line
from c2d.data.conversion.coco_content import (
    NO_SIDES,
    ConvertedImage,
    Corners,
    LabelledBox,
    clipped,
    key_of,
    rounded,
)
from c2d.data.conversion.source_images import SourceImage, common_folder, frame_error, read_images
from c2d.data.conversion.write_converted import Conversion, Images, write_converted
from c2d.data.cvat.cvat_splits import Part, choose_parts
from c2d.data.cvat.cvat_xml import CvatFile, CvatImage
from c2d.data.decoding.orientation import Box
from c2d.data.issues import InvalidDataset


def convert_cvat(
    src: Path,
    out: Path,
    *,
    train: str | None = None,
    val: str | None = None,
    val_share: float | None = None,
    seed: int = 0,
    name: str | None = None,
    images: Images = "reference",
) -> Conversion:
    """Convert a CVAT data set.

    A polygon becomes its box, a rotated box the upright box around it. Other shapes are left out.

    Args:
        src: folder with annotations.xml and images/, or with the files of the splits; or an XML file.
        out: new folder; gets annotations/instances_<split>.json and card.json.
        train: file in `src`, or subset, to train on; the subset train by default.
        val: file or subset to evaluate on; the subset val or validation by default.
        val_share: share of the images to evaluate on, drawn at random, instead of `train` and `val`.
        seed: of that draw.
        name: name of the data set; that of `out` by default.
        images: image files are referenced where they are, copied, or linked.

    Raises:
        InvalidDataset: all issues of the files; nothing is written.
        InputError: a file is missing or no CVAT for images 1.1, or `out` holds something else.
    """
    src, out = Path(src), Path(out)
    parts, split = choose_parts(src, {"train": train, "val": val}, val_share, seed)
    files = {id(part.file): part.file for part in parts.values()}
    issues = [issue for file in files.values() for issue in file.issues]
    notes = [note for file in files.values() for note in file.notes]
    if empty := [part_name for part_name, part in parts.items() if not part.images]:
        raise InvalidDataset(f"{src} cannot be converted", issues or [f"no image in the split {empty[0]}"])
    flat = [(part_name, part, image) for part_name, part in parts.items() for image in part.images]
    paths = [_find_image(part.file.path.parent, image) for _, part, image in flat]
    folders = {
        part_name: common_folder([path for (own, _, _), path in zip(flat, paths, strict=True) if own == part_name])
        for part_name in parts
    }
    sources = [
        SourceImage(part_name, part.file.path.name, path.absolute().relative_to(folders[part_name]).as_posix(), path)
        for (part_name, part, _), path in zip(flat, paths, strict=True)
    ]
    facts = read_images(sources, src if src.is_dir() else src.parent, issues, notes)
    for (_, part, image), path, found in zip(flat, paths, facts, strict=True):
        if found is not None and (message := frame_error(found, image.size, path)):
            issues.append(f"{part.file.path.name}: image {image.key}: {message}")
    if not issues and not any(image.shapes for _, _, image in flat):
        issues.append(f"{src}: no box and no polygon in any of the splits")
    if issues:
        raise InvalidDataset(f"{src} cannot be converted", issues)
    in_pixels = {key: _pixels(file) for key, file in files.items()}
    splits: dict[str, list[ConvertedImage]] = {part_name: [] for part_name in parts}
    for source, (part_name, part, image) in zip(sources, flat, strict=True):
        kept, dropped = _boxes(image, in_pixels[id(part.file)][image.key])
        notes += [f"{part.file.path.name}: image {image.key}: {line}" for line in dropped]
        splits[part_name].append(ConvertedImage(source.name, image.size, kept))
    notes += _polygon_notes(parts)
    label = name or out.name
    record: dict[str, Any] = {"maker": "c2d data cvat", "name": label, "split": split, "images": images}
    return write_converted(
        out,
        splits,
        folders,
        src=src,
        name=label,
        classes=parts["train"].file.labels,
        source=record,
        images=images,
        notes=notes,
    )


def _find_image(folder: Path, image: CvatImage) -> Path:
    """Return the path of an image, which may not exist: in images/ beside the file, or beside it, with its subset."""
    bases = (folder / "images", folder)
    places = [place / image.name for base in bases for place in (base / image.subset, base)]
    return next((path for path in places if path.is_file()), folder / "images" / image.name)


def _pixels(file: CvatFile) -> dict[str, list[Box]]:
    """Return {key of an image: the boxes (x, y, width, height) in pixels of its shapes}, as hotcoco reads them.

    Raises:
        InputError: hotcoco read other shapes than the file has.
    """
    import hotcoco

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes that are left out are notes already
        try:
            read = hotcoco.COCO.from_cvat(str(file.path)).dataset
        except ValueError as error:
            raise InputError(f"{file.path}: {first_line(error)}; correct that place, or export it again") from None
    place = {row["id"]: index for index, row in enumerate(read["images"])}
    boxes: list[list[Box]] = [[] for _ in read["images"]]
    for row in read["annotations"]:
        boxes[place[row["image_id"]]].append(tuple(row["bbox"]))
    if [len(found) for found in boxes] != [len(image.shapes) for image in file.images]:
        raise InputError(f"hotcoco {hotcoco.__version__} read other shapes than {file.path} has; report it")
    return {image.key: found for image, found in zip(file.images, boxes, strict=True)}


def _boxes(image: CvatImage, boxes: Sequence[Box]) -> tuple[list[LabelledBox], list[str]]:
    """Return the annotations of one image, and a line for each that was dropped, turned or clipped."""
    kept: list[LabelledBox] = []
    notes: list[str] = []
    first: dict[object, str] = {}
    for shape, (x, y, w, h) in zip(image.shapes, boxes, strict=True):
        if w <= 0 or h <= 0:
            notes.append(f"{shape} dropped: {NO_SIDES}")
            continue
        edges = (x, y, x + w, y + h)
        if shape.rotation:
            notes.append(f"{shape} is rotated by {shape.rotation:g} degrees; the upright box around it was taken")
            edges = _around(edges, shape.rotation)
        box, done = clipped(edges, image.size)
        if done:
            notes.append(f"{shape} {done}")
        if box is None:
            continue
        keys = {} if shape.occluded is None else {"occluded": shape.occluded}
        item = LabelledBox(shape.label, rounded(box), keys=keys)
        if (other := first.setdefault(key_of(item), str(shape))) != str(shape):
            notes.append(f"{shape} dropped: it repeats {other}")
            continue
        kept.append(item)
    return kept, notes


def _around(edges: Corners, degrees: float) -> Corners:
    """Return the edges of the upright box around a box that is turned around its centre."""
    left, top, right, bottom = edges
    w, h, x, y = right - left, bottom - top, (left + right) / 2, (top + bottom) / 2
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    half_w, half_h = (w * cos + h * sin) / 2, (w * sin + h * cos) / 2
    return x - half_w, y - half_h, x + half_w, y + half_h


def _polygon_notes(parts: dict[str, Part]) -> list[str]:
    found = [(image.key, sum(s.polygon for s in image.shapes)) for part in parts.values() for image in part.images]
    total, names = sum(count for _, count in found), [key for key, count in found if count]
    return [f"{total} polygons became their boxes: {abbreviate(names)}"] if total else []
