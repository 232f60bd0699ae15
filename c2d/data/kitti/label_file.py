"""Read one label file of KITTI's object benchmark: 15 columns a line, of which the first eight concern the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from c2d.core.errors import unknown_name
from c2d.core.json_values import MAX_BYTES
from c2d.core.regular_file import error_text, read_bytes
from c2d.data.conversion.coco_content import Corners
from c2d.data.conversion.label_number import label_number
from c2d.data.protocol_checks import DONT_CARE

TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", DONT_CARE)
NEIGHBOURS = {"Van": "Car", "Person_sitting": "Pedestrian"}
"""{type: class}: in KITTI's evaluation, detections of the class on such an object are neither right nor wrong."""
COLUMNS = 15
_WANTED = (
    "wanted 15 columns: type, truncated, occluded, alpha, left, top, right, bottom, height, width, length, x, y, z, "
    "rotation_y"
)


@dataclass(frozen=True)
class KittiObject:
    """One line of a label file.

    Attributes:
        line: its number, from 1.
        type: one of `TYPES`.
        truncated: share of the object outside the image, 0 to 1; 0 of a DontCare region.
        occluded: 0 visible, 1 partly, 2 largely occluded, 3 unknown; 0 of a DontCare region.
        corners: (left, top, right, bottom) in pixels, counted from 0.
    """

    line: int
    type: str
    truncated: float
    occluded: int
    corners: Corners

    def __str__(self) -> str:
        """Describe the object for a note."""
        left, top, right, bottom = self.corners
        return f"line {self.line} ({self.type}, left {left:g} top {top:g} right {right:g} bottom {bottom:g})"


def read_labels(path: Path) -> tuple[list[KittiObject], list[str]]:
    """Return the objects of a label file, and a line for everything in it that cannot be trusted.

    Args:
        path: of the file; an empty one has no objects.
    """
    try:
        text = read_bytes(path, most=MAX_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:  # a FormatError is a ValueError
        return [], [f"{path.name}: cannot be read: {error_text(error)}; give a label file of KITTI's object benchmark"]
    objects: list[KittiObject] = []
    issues: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            objects.append(_object(line.split(), number))
        except ValueError as error:
            issues.append(f"{path.name}: line {number}: {error}")
    return objects, issues


def _object(columns: list[str], line: int) -> KittiObject:
    """Return the object of a line.

    Raises:
        ValueError: what is wrong with it.
    """
    if len(columns) == COLUMNS + 1:
        raise ValueError("has 16 columns, so it is a detection with its score, not a label; give the label files")
    if len(columns) == COLUMNS + 2 and columns[0].isdigit():
        raise ValueError("begins with a frame and a track, so it is of the tracking benchmark; give the object labels")
    if len(columns) != COLUMNS:
        raise ValueError(f"has {len(columns)} columns; {_WANTED}")
    if columns[0] not in TYPES:
        raise ValueError(str(unknown_name("type", columns[0], TYPES)))
    truncated, occluded = _number(columns[1], "truncated"), _number(columns[2], "occluded")
    left, top, right, bottom = (
        _number(text, name) for text, name in zip(columns[4:8], ("left", "top", "right", "bottom"), strict=True)
    )
    if columns[0] == DONT_CARE:
        truncated, occluded = 0.0, 0.0
    if not 0 <= truncated <= 1:
        raise ValueError(f"truncated is {columns[1]}; wanted a share from 0 to 1")
    if occluded not in (0, 1, 2, 3):
        raise ValueError(f"occluded is {columns[2]}; wanted 0, 1, 2 or 3")
    return KittiObject(line, columns[0], truncated, int(occluded), (left, top, right, bottom))


def _number(text: str, name: str) -> float:
    value = label_number(text)
    if math.isnan(value):
        raise ValueError(f"{name} is {text!r}; wanted a number")
    return value
