"""Count the boxes of a COCO file that training can use, and name what its filters drop.

The filters are those of mmdet's COCO reader with the `filter_cfg` of its stock configs. They drop boxes and images
without a message: a data set of which nothing remains trains to the end on background.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from c2d.core.errors import InputError
from c2d.data.coco_file import entry_name, entry_value
from c2d.data.flag_words import read_flag

MIN_IMAGE_PX = 32
"""Shorter side of an image below which training drops it: `min_size` of mmdet's stock COCO configs."""
MIN_SIDE_PX = 1.0
"""Side of a box below which training skips it."""
BOX_DECIMALS = 4
"""Digits of a box in px that tell two boxes apart: tools write the same number with another rounding."""
FILTER_KEY = "train_dataloader.dataset.filter_cfg"


@dataclass(frozen=True)
class UsableBoxes:
    """The boxes of one file.

    Attributes:
        total: number of annotations, crowd regions included.
        usable: number of boxes that can be learned or detected.
        dropped: {why: number of boxes}; a box counts under its first reason.
        first_dropped: the first of them, as "annotation 17 (image 3)"; empty where nothing is dropped.
        small_images: number of images below `min_size`.
        images: number of images.
        empty_images: number of images without any annotation.
    """

    total: int
    usable: int
    dropped: dict[str, int]
    first_dropped: str
    small_images: int
    images: int
    empty_images: int

    def reasons(self) -> str:
        """Describe what is dropped: "8 crowd regions, 2 outside their image"; empty where nothing is."""
        return ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())


def training_min_size(overrides: Mapping[str, Any]) -> int:
    """Return the `min_size` of a run's training images in px.

    Args:
        overrides: of its spec.
    """
    given = overrides.get(FILTER_KEY, {"min_size": MIN_IMAGE_PX})
    size = overrides.get(f"{FILTER_KEY}.min_size", given.get("min_size", 0) if isinstance(given, dict) else 0)
    return size if isinstance(size, int) else 0


def check_flag(row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the `iscrowd` of an annotation, or None.

    mmdet reads the JSON value by its truth: "false" and -1 would make a crowd region, which is not trained.

    Args:
        row: the annotation.
    """
    value = row.get("iscrowd", 0)
    if isinstance(value, int | float) and value in (0, 1):
        return None
    try:
        fix = f"write {read_flag(value)}, which this word means: training would read it in another way"
    except ValueError:
        fix = "wanted 0 or 1"
    return f"iscrowd {entry_value(row, 'iscrowd')}; {fix}"


def count_usable(coco: Mapping[str, Any], min_size: int = 0) -> UsableBoxes:
    """Count the boxes of a file that remain after the filters.

    Args:
        coco: content of a COCO file; malformed entries count as malformed.
        min_size: shorter side of an image in px below which it is dropped; 0 for evaluation, which drops none.
    """
    sizes = image_sizes(coco)
    dropped: Counter[str] = Counter()
    usable, first = 0, ""
    for index, row in enumerate(coco["annotations"]):
        reason = drop_reason(row, sizes, min_size)
        if reason is None:
            usable += 1
        else:
            dropped[reason] += 1
            first = first or entry_name("annotations", row, index)
    sides = [min(size) for size in sizes.values() if all(isinstance(side, int | float) for side in size)]
    used = {row["image_id"] for row in coco["annotations"] if isinstance(row.get("image_id"), int)}
    return UsableBoxes(
        total=len(coco["annotations"]),
        usable=usable,
        dropped=dict(dropped),
        first_dropped=first,
        small_images=sum(side < min_size for side in sides),
        images=len(coco["images"]),
        empty_images=sum(image not in used for image in sizes),
    )


def check_usable(coco: Mapping[str, Any], where: str, min_size: int, use: str) -> None:
    """Check that a split has a box that can be learned or detected.

    Args:
        coco: content of its file.
        where: name of the file, for the message.
        min_size: see `count_usable`.
        use: "to train on" or "to evaluate on".

    Raises:
        InputError: it has none, or an `iscrowd` is not 0 or 1.
    """
    for index, row in enumerate(coco["annotations"]):
        if message := check_flag(row):
            raise InputError(f"annotation file {where}: {entry_name('annotations', row, index)}: {message}")
    counted = count_usable(coco, min_size)
    if not counted.usable:
        raise InputError(f"annotation file {where} {nothing_usable(counted, use)}")


def nothing_usable(counted: UsableBoxes, use: str) -> str:
    """Return the message for a file without a usable box.

    Args:
        counted: its boxes.
        use: "to train on" or "to evaluate on".
    """
    boxes = f"of {counted.total} boxes {counted.reasons()}, the first {counted.first_dropped}"
    why = f": {boxes}" if counted.total else ": it has no annotation"
    fix = "correct the annotations"
    if counted.small_images == counted.images:
        fix = f"enlarge the images, or set the override {FILTER_KEY}.min_size: 0 (for `c2d data check` --min-size 0)"
    return f"has no box {use}{why}; {fix}"


def image_sizes(coco: Mapping[str, Any]) -> dict[Any, tuple[Any, Any]]:
    """Return {id of an image: (width, height)} as a file states them; images without a numeric id are left out."""
    return {row["id"]: (row.get("width"), row.get("height")) for row in coco["images"] if _is_hashable(row)}


def _is_hashable(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("id"), int)


def drop_reason(row: Mapping[str, Any], sizes: Mapping[Any, tuple[Any, Any]], min_size: int) -> str | None:
    """Return why training skips a box, in the order of mmdet's reader; None where it does not.

    Args:
        row: the annotation.
        sizes: of `image_sizes`.
        min_size: see `count_usable`.
    """
    image, box, area = row.get("image_id"), row.get("bbox"), row.get("area", 1)
    try:
        wide, high = sizes[image]
        x, y, w, h = box  # type: ignore[misc]
        inside = min(x + w, wide) > max(x, 0) and min(y + h, high) > max(y, 0)
        if row.get("iscrowd", 0) == 1:
            return "crowd regions (iscrowd 1)"
        if row.get("ignore"):
            return "marked `ignore`"
        if area <= 0 or w <= 0 or h <= 0:
            return "without area"
        if w < MIN_SIDE_PX or h < MIN_SIDE_PX:
            return f"with a side below {MIN_SIDE_PX:g} px"
        if not inside:
            return "outside their image"
        if min(wide, high) < min_size:
            return f"in images with a side below {min_size} px (min_size)"
    except (TypeError, ValueError, KeyError):
        return "malformed"
    return None
