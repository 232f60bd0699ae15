"""The COCO content of one split: its images, and the boxes of a layout in the frame that training reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from c2d.data.decoding.orientation import Box, Size
from c2d.data.usable_boxes import BOX_DECIMALS

Corners = tuple[float, float, float, float]
NO_SIDES = "no width or height"


@dataclass(frozen=True)
class LabelledBox:
    """One annotation.

    Attributes:
        name: its class.
        box: (x, y, width, height) in pixel edges, as in COCO.
        crowd: whether it is a crowd region: not trained on, ignored in evaluation.
        keys: further keys of the annotation.
    """

    name: str
    box: Box
    crowd: bool = False
    keys: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class ConvertedImage:
    """One image of a split.

    Attributes:
        file_name: path below the image folder.
        size: (width, height) in pixels as training reads it.
        boxes: its annotations.
    """

    file_name: str
    size: Size
    boxes: list[LabelledBox] = field(default_factory=list)


def coco_content(images: Sequence[ConvertedImage], classes: Sequence[str]) -> dict[str, Any]:
    """Return the COCO dict of a split. Ids count from 1.

    Args:
        images: in order.
        classes: class names in the order of the labels.
    """
    numbers = {name: index for index, name in enumerate(classes, start=1)}
    rows: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, start=1):
        for item in image.boxes:
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image_id,
                    "category_id": numbers[item.name],
                    "bbox": list(item.box),
                    "area": item.box[2] * item.box[3],
                    "iscrowd": int(item.crowd),
                    **item.keys,
                }
            )
    return {
        "images": [
            {"id": i, "file_name": image.file_name, "width": image.size[0], "height": image.size[1]}
            for i, image in enumerate(images, start=1)
        ],
        "annotations": rows,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }


def clipped(edges: Corners, size: Size, slack: float = 0.0) -> tuple[Box | None, str]:
    """Return a box inside its image, and what was done.

    Args:
        edges: (left, top, right, bottom) in pixel edges.
        size: (width, height) of the image in pixels.
        slack: pixels by which a box may leave the image without being reported.

    Returns:
        ((x, y, width, height), "" or "clipped ..."), or (None, "dropped: ...").
    """
    width, height = size
    left, top, right, bottom = max(edges[0], 0.0), max(edges[1], 0.0), min(edges[2], width), min(edges[3], height)
    if right - left < 1 or bottom - top < 1:
        return None, f"dropped: outside the image of {width} x {height}"
    changed = max(abs(a - b) for a, b in zip((left, top, right, bottom), edges, strict=True)) > slack
    done = f"clipped to the image of {width} x {height}" if changed else ""
    return (left, top, right - left, bottom - top), done


def rounded(box: Box) -> Box:
    """Return a box with the digits that tell two boxes apart, so that equal labels give equal numbers everywhere."""
    x, y, w, h = (round(value, BOX_DECIMALS) for value in box)
    return x, y, w, h


def key_of(item: LabelledBox) -> tuple[object, ...]:
    """Return what is equal for two annotations of one object: the class and the box."""
    return (item.name, *item.box)
