"""Find what a COCO file has twice: the same box of a class, class names that differ in case or blanks alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from c2d.data.coco.box_evidence import A_FEW
from c2d.data.coco.file_issues import FileIssues, Severity
from c2d.data.plain_name import plain_name
from c2d.data.usable_boxes import BOX_DECIMALS

NEARLY_SAME_IOU = 0.95
NEIGHBOURS = 3
SHORT_NAME = 2
"""Characters of a class name up to which another case may be another class."""


def check_repeated_boxes(rows: Sequence[dict[str, Any]], issues: FileIssues) -> None:
    """Report objects that are annotated more than once: evaluation expects as many detections of each.

    Two objects with masks that differ may have one box, which is a warning.

    Args:
        rows: annotations with four numbers as bbox, an image and a category.
        issues: what is wrong is added.
    """
    boxes = [row for row in rows if row.get("iscrowd", 0) != 1]
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for row in boxes:
        key = (row["image_id"], row["category_id"], *_rounded(row))
        other = first.setdefault(key, row)
        if other is not row:
            pairs.append((other, row))
    same = [(a, b) for a, b in pairs if not _other_mask(a, b)]
    severity: Severity = "error" if len(same) > A_FEW * len(boxes) else "warning"
    for a, b in pairs:
        where = f"annotation {b.get('id')} (image {b['image_id']})"
        what = f"has the class and the bbox {b['bbox']} of annotation {a.get('id')}"
        if _other_mask(a, b):
            message = f"{what}, with another mask; a detector can find only one of them"
            issues.warning("same box", where, message)
        else:
            message = f"{what}: an object counts twice; remove one ({len(same)} of {len(boxes)} boxes are such copies)"
            issues.add(severity, "repeated box", where, message)
    _check_other_class(boxes, issues)
    _check_nearly_repeated(boxes, issues)


def _check_other_class(boxes: Sequence[dict[str, Any]], issues: FileIssues) -> None:
    """Report boxes that objects of two classes share."""
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    pairs = []
    for row in boxes:
        other = first.setdefault((row["image_id"], *_rounded(row)), row)
        if other["category_id"] != row["category_id"] and not _other_mask(other, row):
            pairs.append((other, row))
    if pairs:
        a, b = pairs[0]
        message = f"{len(pairs)} of {len(boxes)} boxes are the bbox of another class, too, the first that of annotation"
        where = f"annotation {b.get('id')} (image {b['image_id']})"
        issues.warning("box of two classes", where, f"{message} {a.get('id')}; if it is one object, remove one")


def _check_nearly_repeated(rows: Sequence[dict[str, Any]], issues: FileIssues) -> None:
    """Report boxes of a class that nearly are another one, among neighbours in the order of their left sides."""
    boxes = [row for row in rows if row["bbox"][2] > 0 and row["bbox"][3] > 0]
    boxes.sort(key=lambda row: (row["image_id"], row["category_id"], row["bbox"][0]))
    if not boxes:
        return
    # Ids may be any whole numbers; their order in the file is enough to compare them.
    names: dict[tuple[int, int], int] = {}
    group = np.asarray([names.setdefault((row["image_id"], row["category_id"]), len(names)) for row in boxes])
    box = np.asarray([row["bbox"] for row in boxes], np.float64)
    low, high, area = box[:, :2], box[:, :2] + box[:, 2:], box[:, 2] * box[:, 3]
    found: list[tuple[int, int]] = []
    for step in range(1, 1 + NEIGHBOURS):
        sides = np.clip(np.minimum(high[:-step], high[step:]) - np.maximum(low[:-step], low[step:]), 0, None)
        shared = sides.prod(axis=1)
        same = shared >= NEARLY_SAME_IOU * (area[:-step] + area[step:] - shared)
        exact = (np.round(box[:-step], BOX_DECIMALS) == np.round(box[step:], BOX_DECIMALS)).all(axis=1)
        for index in np.flatnonzero(same & ~exact & (group[:-step] == group[step:])).tolist():
            found += [] if _other_mask(boxes[index], boxes[index + step]) else [(index, index + step)]
    if found:
        a, b = (boxes[index] for index in min(found))
        message = f"{len(found)} pairs of boxes of one class have an IoU of {NEARLY_SAME_IOU} or more, the first with"
        where = f"annotation {b.get('id')} (image {b['image_id']})"
        issues.warning(
            "nearly the same box", where, f"{message} annotation {a.get('id')}; is an object annotated twice?"
        )


def _rounded(row: dict[str, Any]) -> tuple[float, ...]:
    return tuple(round(float(value), BOX_DECIMALS) for value in row["bbox"])


def _other_mask(a: dict[str, Any], b: dict[str, Any]) -> bool:
    masks = a.get("segmentation"), b.get("segmentation")
    return bool(masks[0] and masks[1] and masks[0] != masks[1])


def check_class_names(named: Sequence[tuple[int, str]], issues: FileIssues) -> None:
    """Report class names that differ in case or blanks alone, and names with blanks around them.

    Short names may differ in case with reason, as letters and chemical elements do: a warning.

    Args:
        named: (category id, name), each name once.
        issues: what is wrong is added.
    """
    first: dict[str, tuple[int, str]] = {}
    for category, name in named:
        other = first.setdefault(plain_name(name), (category, name))
        if other[1] != name:
            message = f"name {name!r} differs from {other[1]!r} of category {other[0]} in case or blanks alone"
            fix = "if they are one class, give their boxes one category; if not, name them apart"
            blanks_alone = "".join(name.split()) == "".join(other[1].split())
            severity: Severity = "error" if blanks_alone or len(plain_name(name)) > SHORT_NAME else "warning"
            issues.add(severity, "similar category names", f"category {category}", f"{message}; {fix}")
        elif name != name.strip():
            message = f"name {name!r} has blanks around it; remove them"
            issues.warning("blanks in category name", f"category {category}", message)
