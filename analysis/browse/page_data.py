"""The data of the page: what it says about its runs, and the images with their boxes, as its scripts read them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from analysis.browse.box_rows import ImageRows, Row
from analysis.browse.browse_source import BrowseSource
from analysis.browse.teacher_verdicts import TeacherVerdicts
from analysis.browse.thumbnails import Thumbnail
from c2d.core.printable import printable_line
from c2d.metrics.box_verdicts import OBJECT_VERDICTS, VERDICTS
from c2d.metrics.tide_errors import MAIN, SIZES


def page_facts(
    source: BrowseSource, rows: ImageRows, images: Sequence[int], teacher: TeacherVerdicts | None
) -> dict[str, Any]:
    """Return what the page says about itself and its runs.

    Args:
        source: of the page.
        rows: boxes of all images.
        images: places of the images on the page.
        teacher: verdicts of a teacher.
    """
    truth = rows.truth
    return {
        "dataset": printable_line(source.dataset),
        "runs": [
            {
                "name": printable_line(one.detections.name),
                "ap": one.ap,
                "score": round(one.score, 4),
                "f1": None if math.isnan(one.f1) else round(one.f1, 4),
                "counts": one.counts,
                "detections": len(one.detections.data.dt_score),
            }
            for one in rows.sets
        ],
        "classes": [
            printable_line(name) if name.strip() else f"class {key}"
            for key, name in zip(truth.class_ids, truth.class_names, strict=True)
        ],
        "kinds": list(VERDICTS),
        "objectKinds": list(OBJECT_VERDICTS),
        "types": list(MAIN),
        "sizes": list(SIZES),
        "shown": len(images),
        "total": len(source.images),
        "teacher": None if teacher is None else teacher.sentence,
        "teacherRight": None if teacher is None else _teacher_right(rows, images, teacher),
    }


def page_image(
    source: BrowseSource,
    rows: ImageRows,
    image: int,
    picture: Thumbnail,
    boxes: Sequence[Sequence[Row]],
    teacher: TeacherVerdicts | None,
) -> dict[str, Any]:
    """Return one image: its id, name and size in px, its objects and the detections of each run.

    Args:
        source: of the page.
        rows: boxes of all images.
        image: its place.
        picture: its picture, or the reason why it has none.
        boxes: rows of `analysis.browse.box_rows`: objects, then detections of each run.
        teacher: verdicts of a teacher.
    """
    entry, key = source.images[image], rows.truth.image_ids[image]
    far = [max([1.0, *(row[side] + row[side + 2] for part in boxes for row in part)]) for side in (0, 1)]
    found: dict[str, Any] = {
        "id": key,
        "name": printable_line(entry.name) or f"image {key}",
        "w": picture.width or entry.width or math.ceil(far[0]),
        "h": picture.height or entry.height or math.ceil(far[1]),
        "objects": boxes[0],
        "detections": boxes[1:],
    }
    if picture.reason:
        found["note"] = picture.reason
    if teacher is not None:
        said = iter(teacher.rows.get(key, ()))
        found["teacher"] = [list(itertools.islice(said, len(part))) for part in boxes]
    return found


def _teacher_right(rows: ImageRows, images: Sequence[int], teacher: TeacherVerdicts) -> tuple[int, int]:
    """Objects on the page whose class the teacher gives first, and objects that it has a verdict of."""
    right = total = 0
    for image in images:
        truth, objects = rows.truth, rows.objects(image)
        for at, best in zip(objects, teacher.rows.get(truth.image_ids[image], ()), strict=False):
            if best is not None and not truth.gt_crowd[at]:
                right, total = right + int(best[0] == truth.gt_class[at]), total + 1
    return right, total
