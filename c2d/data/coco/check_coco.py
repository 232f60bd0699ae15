"""Check COCO data sets before a run does: ids, sizes, boxes, categories, image files, leaks between splits.

All issues are returned, each with its file and id. Errors make a data set unusable or wrong without a message; warnings
may be intended (an image without boxes is a good background image).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError
from c2d.data.coco.coco_rows import check_annotations, check_categories, check_image_rows, is_id
from c2d.data.coco.file_issues import FileIssues
from c2d.data.coco_file import PROTOCOL, SOFT_LABEL, parse_coco
from c2d.data.images import ImageFile, check_images
from c2d.data.issues import Issue
from c2d.data.leaks import find_leaks
from c2d.data.protocol_checks import protocol_errors, protocol_of
from c2d.data.soft_label_checks import have_soft_labels, soft_label_errors
from c2d.data.usable_boxes import count_usable, nothing_usable

CHECKED_NUMBERS = ("width", "height", "bbox", "area", SOFT_LABEL, PROTOCOL)
"""Keys whose numbers are checked with the entries."""


@dataclass
class CheckReport:
    """The result of a check.

    Attributes:
        issues: errors and warnings.
        counts: {annotation file: numbers of images, boxes, crowd regions, boxes that training can use, what it drops,
            boxes of each class, whether they have soft labels, and the evaluation protocol they are written for}.
        classes: class names in the order of the labels.
    """

    issues: list[Issue] = field(default_factory=list)
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[Issue]:
        """The issues that are errors."""
        return [issue for issue in self.issues if issue.severity == "error"]

    @property
    def warnings(self) -> list[Issue]:
        """The issues that are warnings."""
        return [issue for issue in self.issues if issue.severity == "warning"]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON value that --json prints."""
        found = [issue.to_dict() for issue in self.issues]
        return {
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "problems": found,
            "files": self.counts,
            "classes": self.classes,
        }


def _count(coco: dict[str, Any], min_size: int, use: str, issues: FileIssues) -> dict[str, Any]:
    rows = coco["annotations"]
    crowds = sum(row.get("iscrowd") == 1 for row in rows)
    per = Counter(row.get("category_id") for row in rows if row.get("iscrowd") != 1 and is_id(row.get("category_id")))
    used = {row.get("image_id") for row in rows if is_id(row.get("image_id"))}
    classes = {str(row.get("name")): per.get(row.get("id"), 0) for row in coco["categories"] if is_id(row.get("id"))}
    empty = sum(row.get("id") not in used for row in coco["images"] if is_id(row.get("id")))
    if empty:
        message = f"{empty} of {len(coco['images'])} images have no box; training drops them, evaluation keeps them"
        issues.warning("images without boxes", "", message)
    unused = [name for name, number in classes.items() if not number]
    if unused and rows:
        issues.warning(
            "classes without boxes", "", f"{len(unused)} of {len(classes)} classes have no box: {', '.join(unused)}"
        )
    counted = count_usable(coco, min_size)
    found_errors = any(issue.severity == "error" and issue.file == issues.file for issue in issues.into)
    if counted.total and not counted.usable and not found_errors:  # another error has the cause
        issues.error("no usable box", "", nothing_usable(counted, use))
    elif counted.small_images and counted.usable:
        message = f"{counted.small_images} of {counted.images} images have a side below {min_size} px"
        issues.warning("small images", "", f"{message}; training drops them (min_size)")
    return {
        "images": len(coco["images"]),
        "boxes": len(rows) - crowds,
        "crowds": crowds,
        "images_without_boxes": empty,
        "usable_boxes": counted.usable,
        "dropped": counted.dropped,
        "classes": classes,
        "soft_labels": have_soft_labels(coco),
        "protocol": protocol_of(coco),
    }


def check_coco(
    files: Sequence[tuple[Path, Path | None]],
    workers: int = 8,
    min_size: int = 0,
    evaluated: Sequence[Path] = (),
) -> CheckReport:
    """Check COCO annotation files, which are the splits of one data set.

    Their class lists have to be equal, and no image may be in two of them. A file that cannot be read is an error of
    the report.

    Args:
        files: (annotation file, folder of its images) of each split; None instead of a folder to skip the image files.
        workers: number of threads that decode images.
        min_size: shorter side of an image in px below which training drops it; 0: it drops none.
        evaluated: files of `files` that nothing is trained on: evaluation drops no image.
    """
    report = CheckReport()
    read: dict[str, dict[str, Any]] = {}
    found: list[ImageFile] = []
    for path, folder in files:
        issues = FileIssues(str(path), report.issues)
        try:
            coco, not_finite = parse_coco(path)
        except InputError as error:
            issues.error("unreadable", "", str(error))
            continue
        read[str(path)] = coco
        for where, key, value in not_finite:
            if key not in CHECKED_NUMBERS:
                issues.error("not finite", where, f"{key} has the number {value}; wanted finite numbers")
        sizes = check_image_rows(coco, issues)
        check_annotations(coco, sizes, check_categories(coco, issues), issues)
        for where, message in soft_label_errors(coco):
            issues.error("soft label", where, message)
        for where, message in protocol_errors(coco):
            issues.error("protocol", where, message)
        use = (0, "to evaluate on") if path in evaluated else (min_size, "to train on")
        report.counts[str(path)] = _count(coco, *use, issues)
        found += check_images(str(path), coco["images"], folder, report.issues, workers)
    report.classes = _compare_class_lists(read, report.issues)
    report.issues += find_leaks(found)
    return report


def _compare_class_lists(read: dict[str, dict[str, Any]], issues: list[Issue]) -> list[str]:
    """Compare the categories of annotation files.

    Args:
        read: {file: its COCO dict}.
        issues: differences are appended to this list.

    Returns:
        The class names of the first file, in its order.
    """
    lists = {file: [(row.get("id"), row.get("name")) for row in coco["categories"]] for file, coco in read.items()}
    first = next(iter(lists), None)
    for file, pairs in lists.items():
        if first is None or pairs == lists[first]:
            continue
        extra = [f"{i} {n}" for i, n in pairs if (i, n) not in lists[first]]
        missing = [f"{i} {n}" for i, n in lists[first] if (i, n) not in pairs]
        parts = [f"only here: {', '.join(extra[:8])}"] * bool(extra) + [f"only there: {', '.join(missing[:8])}"] * bool(
            missing
        )
        detail = "; ".join(parts) or "same classes in another order, which would renumber the labels"
        issues.append(Issue("error", "class list", file, "", f"its class list differs from that of {first} ({detail})"))
    return [str(name) for _, name in lists[first]] if first is not None else []
