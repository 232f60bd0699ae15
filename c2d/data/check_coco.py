"""Check COCO data sets before a run does: ids, sizes, boxes, categories, image files, leaks between splits.

Nothing stops at the first defect: `check` returns them all, each with its file and id. Errors make a data set unusable
or silently wrong; warnings are worth knowing (an image without boxes is a good background image).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from c2d.core.errors import InputError
from c2d.data.card import read_coco
from c2d.data.images import FoundImage, check_images
from c2d.data.issues import Problem
from c2d.data.splits import compare_class_lists, leaks

# COCO rounds boxes to 1/100 px and some of its own boxes pass the border by that much.
OUTSIDE_TOLERANCE_PX = 0.5
# mmdet's COCO reader skips boxes narrower than this without a word.
MIN_SIDE_PX = 1.0


@dataclass
class Report:
    """What was found: the problems, and counts for each annotation file (images, boxes, crowds, boxes per class)."""

    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "warning"]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for --json."""
        found = [problem.to_dict() for problem in self.problems]
        return {
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "problems": found,
            "files": self.counts,
            "classes": self.classes,
        }


class _Told:
    """Collects the problems of one file."""

    def __init__(self, file: str, into: list[Problem]) -> None:
        self.file, self.into = file, into

    def error(self, kind: str, where: str, message: str) -> None:
        self.into.append(Problem("error", kind, self.file, where, message))

    def warning(self, kind: str, where: str, message: str) -> None:
        self.into.append(Problem("warning", kind, self.file, where, message))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _repeated(values: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _check_categories(coco: dict[str, Any], told: _Told) -> set[int]:
    known: list[int] = []
    names: list[str] = []
    for index, row in enumerate(coco["categories"]):
        if not _is_id(row.get("id")):
            told.error("category id", f"category entry {index}", f"id is {row.get('id')!r}; wanted a whole number")
            continue
        known.append(row["id"])
        name = row.get("name")
        if not isinstance(name, str) or not name.strip():
            told.error("category name", f"category {row['id']}", f"name is {name!r}; wanted a word")
        else:
            names.append(name)
    for value in _repeated(known):
        told.error(
            "duplicate category id", f"category {value}", "this id is used more than once; ids have to be unique"
        )
    for value in _repeated(names):
        told.error(
            "duplicate category name",
            f"category '{value}'",
            "this name is used more than once; names have to be unique",
        )
    if not coco["categories"]:
        told.error("no categories", "", "the list of categories is empty; a detector needs at least one class")
    return set(known)


def _check_image_rows(coco: dict[str, Any], told: _Told) -> dict[int, tuple[float, float]]:
    """Sizes (w, h) of the usable images by id; NaN where an image states none."""
    sizes: dict[int, tuple[float, float]] = {}
    for index, row in enumerate(coco["images"]):
        if not _is_id(row.get("id")):
            told.error("image id", f"image entry {index}", f"id is {row.get('id')!r}; wanted a whole number")
            continue
        where = f"image {row['id']} ({row.get('file_name')})"
        if not isinstance(row.get("file_name"), str) or not row["file_name"]:
            told.error(
                "file name",
                f"image {row['id']}",
                f"file_name is {row.get('file_name')!r}; wanted the name of the image file",
            )
        side = [row.get("width"), row.get("height")]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and v >= 1 for v in side):
            told.error("image size", where, f"width, height are {side[0]!r}, {side[1]!r}; wanted pixels, at least 1")
            side = [float("nan")] * 2
        sizes[row["id"]] = (side[0], side[1])
    for value in _repeated(row["id"] for row in coco["images"] if _is_id(row.get("id"))):
        told.error("duplicate image id", f"image {value}", "this id is used more than once; ids have to be unique")
    for value in _repeated(row["file_name"] for row in coco["images"] if isinstance(row.get("file_name"), str)):
        told.error(
            "duplicate file name", f"image '{value}'", "this file is listed more than once; list every image once"
        )
    if not coco["images"]:
        told.error("no images", "", "the list of images is empty")
    return sizes


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e9 for v in value)
    )


def _check_boxes(rows: list[dict[str, Any]], sizes: dict[int, tuple[float, float]], told: _Told) -> None:
    """Geometry of the well-formed boxes at once: `rows` all have a box of four numbers and a known image."""
    if not rows:
        return
    x, y, w, h = np.asarray([row["bbox"] for row in rows], np.float64).T
    wide, high = np.asarray([sizes[row["image_id"]] for row in rows], np.float64).T
    flat = (w <= 0) | (h <= 0)
    slack = OUTSIDE_TOLERANCE_PX
    outside = ~flat & ((x < -slack) | (y < -slack) | (x + w > wide + slack) | (y + h > high + slack))
    thin = ~flat & ((w < MIN_SIDE_PX) | (h < MIN_SIDE_PX))
    for index in np.flatnonzero(flat | outside | thin):
        row = rows[index]
        where = f"annotation {row.get('id')} (image {row['image_id']})"
        if w[index] < 0 or h[index] < 0:
            told.error(
                "negative side", where, f"bbox {row['bbox']} is (x, y, w, h) with a side below 0; mend or remove it"
            )
        elif flat[index]:  # COCO's own train2017 has two of these
            told.warning("zero area", where, f"bbox {row['bbox']} has no area; training skips it")
        elif outside[index]:
            message = f"bbox {row['bbox']} (x, y, w, h) leaves the image of {wide[index]:g} x {high[index]:g}; clip it"
            told.error("box outside", where, message)
        else:
            told.warning(
                "thin box", where, f"bbox {row['bbox']} is narrower than {MIN_SIDE_PX:g} px; training skips it"
            )


def _check_annotations(
    coco: dict[str, Any], sizes: dict[int, tuple[float, float]], categories: set[int], told: _Told
) -> None:
    rows = coco["annotations"]
    if not rows:
        told.error("no annotations", "", "the list of annotations is empty; nothing can be learned or evaluated")
        return
    sound: list[dict[str, Any]] = []
    without_crowd = 0
    listing = ", ".join(str(value) for value in sorted(categories)[:12]) + (", ..." if len(categories) > 12 else "")
    for index, row in enumerate(rows):
        if not _is_id(row.get("id")):
            told.error("annotation id", f"annotation entry {index}", f"id is {row.get('id')!r}; wanted a whole number")
        where = f"annotation {row.get('id', f'entry {index}')} (image {row.get('image_id')})"
        image, category = row.get("image_id"), row.get("category_id")
        if not _is_id(image) or image not in sizes:
            told.error("unknown image", where, f"image_id {image!r} is no image of this file")
        if not _is_id(category) or category not in categories:
            told.error(
                "unknown category", where, f"category_id {category!r} is not in the class list; known: {listing}"
            )
        box = row.get("bbox")
        if not _is_box(box):
            told.error("bbox", where, f"bbox is {box!r}; wanted four finite numbers x, y, w, h")
        elif _is_id(image) and image in sizes:
            sound.append(row)
        area = row.get("area")
        flat = _is_box(box) and (box[2] <= 0 or box[3] <= 0)  # told once, as such
        if not flat and (not isinstance(area, int | float) or isinstance(area, bool) or not area > 0):
            told.error("area", where, f"area is {area!r}; wanted a number above 0, w * h where there is no mask")
        if "iscrowd" not in row:
            without_crowd += 1
        elif row["iscrowd"] not in (0, 1):
            told.error("iscrowd", where, f"iscrowd is {row['iscrowd']!r}; wanted 0 or 1")
    for value in _repeated(row["id"] for row in rows if _is_id(row.get("id"))):
        told.error(
            "duplicate annotation id", f"annotation {value}", "this id is used more than once; ids have to be unique"
        )
    if without_crowd:
        told.warning("no iscrowd", "", f"{without_crowd} of {len(rows)} annotations have no iscrowd; they count as 0")
    _check_boxes(sound, sizes, told)


def _count(coco: dict[str, Any], told: _Told) -> dict[str, Any]:
    rows = coco["annotations"]
    crowds = sum(row.get("iscrowd") == 1 for row in rows)
    per = Counter(row.get("category_id") for row in rows if row.get("iscrowd") != 1 and _is_id(row.get("category_id")))
    used = {row.get("image_id") for row in rows if _is_id(row.get("image_id"))}
    classes = {str(row.get("name")): per.get(row.get("id"), 0) for row in coco["categories"] if _is_id(row.get("id"))}
    empty = sum(row.get("id") not in used for row in coco["images"] if _is_id(row.get("id")))
    if empty:
        told.warning("images without boxes", "", f"{empty} of {len(coco['images'])} images have no box")
    unused = [name for name, number in classes.items() if not number]
    if unused and rows:
        told.warning(
            "classes without boxes", "", f"{len(unused)} of {len(classes)} classes have no box: {', '.join(unused)}"
        )
    return {
        "images": len(coco["images"]),
        "boxes": len(rows) - crowds,
        "crowds": crowds,
        "images_without_boxes": empty,
        "classes": classes,
    }


def check(files: Sequence[tuple[Path, Path | None]], workers: int = 8) -> Report:
    """Check COCO annotation files, each with the folder of its images (None: image files are not looked at).

    Several files are the splits of one data set: class lists have to be equal, and no image may be in two of them.
    A file that cannot be read becomes an error of the report like any other.
    """
    report = Report()
    read: dict[str, dict[str, Any]] = {}
    found: list[FoundImage] = []
    for path, folder in files:
        told = _Told(str(path), report.problems)
        try:
            coco = read_coco(path)
        except InputError as error:
            told.error("unreadable", "", str(error))
            continue
        read[str(path)] = coco
        sizes = _check_image_rows(coco, told)
        _check_annotations(coco, sizes, _check_categories(coco, told), told)
        report.counts[str(path)] = _count(coco, told)
        found += check_images(str(path), coco["images"], folder, report.problems, workers)
    report.classes = compare_class_lists(read, report.problems)
    report.problems += leaks(found)
    return report
