"""Soft labels of annotations: one number for each class, in the order of the labels; synthesised targets have them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from c2d.core.errors import InputError
from c2d.data.coco_file import SOFT_LABEL, entry_name, entry_value

SUM_TOLERANCE = 1e-4
"""Distance of the sum from 1 that rounding explains."""


def have_soft_labels(coco: Mapping[str, Any]) -> bool:
    """Return whether an annotation of a COCO file has a soft label."""
    return any(SOFT_LABEL in row for row in coco["annotations"])


def soft_label_errors(coco: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (entry, what is wrong with it) of a file with soft labels; nothing of a file without any.

    Args:
        coco: content of a COCO file; the categories are the classes.
    """
    if not have_soft_labels(coco):
        return
    classes = len(coco["categories"])
    for index, row in enumerate(coco["annotations"]):
        if message := _error(row, classes):
            yield entry_name("annotations", row, index), message


def check_soft_labels(coco: Mapping[str, Any], where: str) -> bool:
    """Check the soft labels of a file and return whether it has them.

    Args:
        coco: content of the file.
        where: its name, for the message.

    Raises:
        InputError: one is wrong, or some annotations have one and others have not.
    """
    for entry, message in soft_label_errors(coco):
        raise InputError(f"annotation file {where}: {entry}: {message}")
    return have_soft_labels(coco)


def _error(row: Mapping[str, Any], classes: int) -> str:
    """What is wrong with the soft label of an annotation, or an empty text."""
    if SOFT_LABEL not in row:
        return f"{SOFT_LABEL} is missing, and other annotations have one; give it to all, or to none"
    value = row[SOFT_LABEL]
    if not isinstance(value, list) or len(value) != classes:
        found = f"has {len(value)} numbers" if isinstance(value, list) else entry_value(row, SOFT_LABEL)
        return f"{SOFT_LABEL} {found}; wanted {classes}, one for each class in the order of the categories"
    for number in value:
        # NaN fails the comparison, too.
        if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number <= 1 + SUM_TOLERANCE:
            return f"{SOFT_LABEL} {entry_value(row, SOFT_LABEL)}; wanted numbers from 0 to 1"
    if abs(total := math.fsum(value) - 1) > SUM_TOLERANCE:
        return f"{SOFT_LABEL} {entry_value(row, SOFT_LABEL)}, which has the sum {total + 1:g}; wanted the sum 1"
    return ""
