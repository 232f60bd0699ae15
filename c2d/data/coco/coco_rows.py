"""Check the entries of one COCO annotation file: ids, sizes, boxes, categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from c2d.data.coco import box_evidence
from c2d.data.coco.box_evidence import Boxes
from c2d.data.coco.file_issues import FileIssues
from c2d.data.coco.repeated import check_class_names, check_repeated_boxes
from c2d.data.coco_file import entry_value
from c2d.data.usable_boxes import MIN_SIDE_PX, check_flag

# COCO rounds boxes to 1/100 px, and some of its own boxes cross the border by that much.
OUTSIDE_TOLERANCE_PX = 0.5
MOST_PX = 1e9
"""Numbers from here on are no sizes in px."""
WANTED_ID = "wanted a whole number below 2^63"


def is_id(value: Any) -> bool:
    """Return whether a value can be an id: a whole number of 64 bits, as evaluation keeps it."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _repeated(values: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def check_categories(coco: dict[str, Any], issues: FileIssues) -> set[int]:
    """Check the categories and return their ids."""
    known: list[int] = []
    named: list[tuple[int, str]] = []
    for index, row in enumerate(coco["categories"]):
        if not is_id(row.get("id")):
            issues.error("category id", f"category entry {index}", f"id {entry_value(row, 'id')}; {WANTED_ID}")
            continue
        known.append(row["id"])
        name = row.get("name")
        if not isinstance(name, str) or not name.strip():
            issues.error("category name", f"category {row['id']}", f"name {entry_value(row, 'name')}; wanted text")
        else:
            named.append((row["id"], name))
    for value in _repeated(known):
        issues.error(
            "duplicate category id", f"category {value}", "this id is used more than once; ids have to be unique"
        )
    for value in _repeated(name for _, name in named):
        issues.error(
            "duplicate category name",
            f"category '{value}'",
            "this name is used more than once; names have to be unique",
        )
    check_class_names(named, issues)
    if not coco["categories"]:
        issues.error("no categories", "", "the list of categories is empty; a detector needs at least one class")
    return set(known)


def check_image_rows(coco: dict[str, Any], issues: FileIssues) -> dict[int, tuple[float, float]]:
    """Check the entries of images and return {id: (width, height)} in pixels, NaN where an entry has no size."""
    sizes: dict[int, tuple[float, float]] = {}
    for index, row in enumerate(coco["images"]):
        if not is_id(row.get("id")):
            issues.error("image id", f"image entry {index}", f"id {entry_value(row, 'id')}; {WANTED_ID}")
            continue
        where = f"image {row['id']} ({row.get('file_name')})"
        if not isinstance(row.get("file_name"), str) or not row["file_name"]:
            issues.error(
                "file name",
                f"image {row['id']}",
                f"file_name {entry_value(row, 'file_name')}; wanted the name of the image file",
            )
        side = [row.get("width"), row.get("height")]
        if not all(_is_number(v) and 1 <= v < MOST_PX for v in side):
            given = f"width {entry_value(row, 'width')}, height {entry_value(row, 'height')}"
            issues.error("image size", where, f"{given}; wanted pixels, at least 1")
            side = [float("nan")] * 2
        sizes[row["id"]] = (side[0], side[1])
    for value in _repeated(row["id"] for row in coco["images"] if is_id(row.get("id"))):
        issues.error("duplicate image id", f"image {value}", "this id is used more than once; ids have to be unique")
    for value in _repeated(row["file_name"] for row in coco["images"] if isinstance(row.get("file_name"), str)):
        issues.error(
            "duplicate file name", f"image '{value}'", "this file is listed more than once; list every image once"
        )
    if not coco["images"]:
        issues.error("no images", "", "the list of images is empty")
    return sizes


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_box(value: Any) -> bool:
    # NaN and infinity fail the comparison, too.
    return isinstance(value, list) and len(value) == 4 and all(_is_number(v) and abs(v) < MOST_PX for v in value)


def _is_area(value: Any) -> bool:
    return _is_number(value) and 0 < value < MOST_PX**2


def _check_boxes(rows: list[dict[str, Any]], sizes: dict[int, tuple[float, float]], issues: FileIssues) -> None:
    """Check where the boxes are. Each of `rows` has a box of four numbers and an image of the file."""
    if not rows:
        return
    box = np.asarray([row["bbox"] for row in rows], np.float64)
    size = np.asarray([sizes[row["image_id"]] for row in rows], np.float64)
    area = np.asarray([row["area"] if _is_area(row.get("area")) else np.nan for row in rows], np.float64)
    (x, y, w, h), (wide, high) = box.T, size.T
    flat = (w <= 0) | (h <= 0)
    slack = OUTSIDE_TOLERANCE_PX
    outside = ~flat & ((x < -slack) | (y < -slack) | (x + w > wide + slack) | (y + h > high + slack))
    thin = ~flat & ((w < MIN_SIDE_PX) | (h < MIN_SIDE_PX))
    kept = np.flatnonzero(~flat & np.asarray([row.get("iscrowd", 0) != 1 for row in rows]))
    if len(kept):
        boxes = Boxes([rows[index] for index in kept], box[kept], area[kept], size[kept])
        relative = box_evidence.find_relative(boxes, issues)
        thin[kept[relative]] = False  # reported once, as such
        if not relative.any():
            if box_evidence.find_other_format(boxes, outside[kept], issues):
                outside[:] = thin[:] = False  # they follow from the format
            else:
                box_evidence.check_areas(boxes, issues)
    for index in np.flatnonzero(flat | outside | thin):
        row = rows[index]
        where = f"annotation {row.get('id')} (image {row['image_id']})"
        if w[index] < 0 or h[index] < 0:
            issues.error(
                "negative side", where, f"bbox {row['bbox']} is (x, y, w, h) with a side below 0; correct or remove it"
            )
        elif flat[index]:  # COCO's own train2017 has two of these
            issues.warning("zero area", where, f"bbox {row['bbox']} has no area; training skips it")
        elif outside[index]:
            message = f"bbox {row['bbox']} (x, y, w, h) leaves the image of {wide[index]:g} x {high[index]:g}; clip it"
            issues.error("box outside", where, message)
        else:
            issues.warning(
                "thin box", where, f"bbox {row['bbox']} is narrower than {MIN_SIDE_PX:g} px; training skips it"
            )


def check_annotations(
    coco: dict[str, Any], sizes: dict[int, tuple[float, float]], categories: set[int], issues: FileIssues
) -> None:
    """Check the annotations.

    Args:
        coco: the content of the file.
        sizes: {image id: (width, height)} in pixels.
        categories: ids of the categories.
        issues: what is wrong is added.
    """
    rows = coco["annotations"]
    if not rows:
        issues.error("no annotations", "", "the list of annotations is empty; nothing can be learned or evaluated")
        return
    sound: list[dict[str, Any]] = []
    without_crowd = 0
    listing = ", ".join(str(value) for value in sorted(categories)[:12]) + (", ..." if len(categories) > 12 else "")
    for index, row in enumerate(rows):
        if not is_id(row.get("id")):
            issues.error("annotation id", f"annotation entry {index}", f"id {entry_value(row, 'id')}; {WANTED_ID}")
        where = f"annotation {row.get('id', f'entry {index}')} (image {row.get('image_id')})"
        image, category = row.get("image_id"), row.get("category_id")
        if not is_id(image) or image not in sizes:
            issues.error("unknown image", where, f"image_id {image!r} is not the id of an image in this file")
        if not is_id(category) or category not in categories:
            issues.error(
                "unknown category", where, f"category_id {category!r} is not in the class list; known: {listing}"
            )
        box = row.get("bbox")
        if not _is_box(box):
            issues.error("bbox", where, f"bbox {entry_value(row, 'bbox')}; wanted four finite numbers x, y, w, h")
        elif is_id(image) and image in sizes:
            sound.append(row)
        area = row.get("area")
        flat = _is_box(box) and (box[2] <= 0 or box[3] <= 0)  # reported once, as such
        if not flat and not _is_area(area):
            message = f"area {entry_value(row, 'area')}; wanted a finite number above 0, w * h where there is no mask"
            issues.error("area", where, message)
        if "iscrowd" not in row:
            without_crowd += 1
        elif wrong := check_flag(row):
            issues.error("iscrowd", where, wrong)
        if row.get("ignore") and row.get("iscrowd", 0) == 0:
            message = "ignore is set and iscrowd is 0: training skips it, evaluation counts it; set iscrowd to 1"
            issues.error("ignore", where, message)
    for value in _repeated(row["id"] for row in rows if is_id(row.get("id"))):
        issues.error(
            "duplicate annotation id", f"annotation {value}", "this id is used more than once; ids have to be unique"
        )
    if without_crowd:
        issues.warning("no iscrowd", "", f"{without_crowd} of {len(rows)} annotations have no iscrowd; they count as 0")
    _check_boxes(sound, sizes, issues)
    check_repeated_boxes([row for row in sound if is_id(row.get("category_id"))], issues)
