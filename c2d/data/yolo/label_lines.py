"""Check the lines of a YOLO label file, and turn polygons into boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from c2d.core.json_values import MAX_BYTES
from c2d.core.regular_file import error_text, read_bytes
from c2d.data.conversion.coco_content import NO_SIDES
from c2d.data.conversion.label_number import label_number

BOX_FIELDS = 5
LEAST_POLYGON_FIELDS = 7
SLACK = 0.01
"""How far a fraction may leave the image: tools round them. More is another unit."""
_WANTED = "wanted `class x y w h`, or a class and the corners of a polygon"


@dataclass
class LabelLines:
    """The lines of one file that can be converted.

    Attributes:
        numbers: of the lines in the file, from 1.
        boxes: (class index, centre x, centre y, width, height) in fractions of the image.
        polygons: how many of them were polygons or oriented boxes.
        issues: a line for everything that cannot be trusted.
        notes: a line for each line that was dropped.
    """

    numbers: list[int] = field(default_factory=list)
    boxes: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    polygons: int = 0
    issues: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the boxes as a YOLO label file."""
        return "".join(f"{index} {x!r} {y!r} {w!r} {h!r}\n" for index, x, y, w, h in self.boxes)


def read_label_lines(path: Path, classes: int) -> LabelLines:
    """Read a label file.

    Args:
        path: of the file.
        classes: number of classes.
    """
    found = LabelLines()
    try:
        text = read_bytes(path, most=MAX_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:  # a FormatError is a ValueError
        found.issues.append(f"{path.name}: cannot be read: {error_text(error)}; give a YOLO label file")
        return found
    first: dict[tuple[float, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not (fields := line.split()):
            continue
        where = f"{path.name}: line {number}"
        try:
            box = _box(fields, classes)
        except ValueError as error:
            found.issues.append(f"{where}: {error}")
            continue
        if min(box[3:]) <= 0:
            found.notes.append(f"{where} dropped: {NO_SIDES}")
        elif (other := first.setdefault(box, number)) != number:
            found.notes.append(f"{where} dropped: it repeats line {other}")
        else:
            found.numbers.append(number)
            found.boxes.append(box)
            found.polygons += len(fields) != BOX_FIELDS
    return found


def _box(fields: list[str], classes: int) -> tuple[int, float, float, float, float]:
    """Return the box of a line.

    Raises:
        ValueError: what is wrong with it.
    """
    if len(fields) == BOX_FIELDS + 1:
        raise ValueError("has 6 values, so it is a detection with its score, not a label; give the label files")
    if len(fields) != BOX_FIELDS and (len(fields) < LEAST_POLYGON_FIELDS or len(fields) % 2 == 0):
        raise ValueError(f"has {len(fields)} values; {_WANTED}")
    if not (fields[0].isascii() and fields[0].isdigit()) or int(fields[0]) >= classes:
        raise ValueError(f"the class is {fields[0]!r}; wanted a whole number from 0 to {classes - 1}")
    values = [_fraction(text) for text in fields[1:]]
    if len(values) > BOX_FIELDS - 1:
        xs, ys = values[::2], values[1::2]
        low, high = (min(xs), min(ys)), (max(xs), max(ys))
        x, y, w, h = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[0] - low[0], high[1] - low[1]
    else:
        x, y, w, h = values
    return int(fields[0]), x, y, w, h


def _fraction(text: str) -> float:
    value = label_number(text)
    if not -SLACK <= value <= 1 + SLACK:  # also NaN
        fix = "; divide pixels by the width or height of the image" if abs(value) > 1 else ""
        raise ValueError(f"a value is {text!r}; wanted fractions of the image from 0 to 1{fix}")
    return value
