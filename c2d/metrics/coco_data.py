"""Convert COCO ground truth and a COCO results list to arrays, and check them once.

All other files work on the arrays. Image and category ids become dense positions in ascending id order, the
order in which COCO breaks ties between equal scores; annotation ids are replaced by list positions, because pycocotools
takes a box whose id is 0 for "no box".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d.core.errors import InputError, abbreviate
from c2d.metrics.record_columns import (
    box_column,
    column,
    finite_column,
    hashable,
    index_of,
    positions,
    sorted_ids,
)

Array = NDArray[Any]


@dataclass(frozen=True)
class CocoData:
    """Ground truth (G annotations in file order) and detections (D in list order) of K classes as arrays.

    Attributes:
        image_ids: ids of the images, ascending.
        class_ids: ids of the K classes, ascending.
        class_names: names of the K classes.
        gt_image: (G,) int64, positions in `image_ids`.
        gt_class: (G,) int64, positions in `class_ids`.
        gt_box: (G, 4) float64, xywh in px of the original image.
        gt_area: (G,) float64, area of the annotation, or of its box, in px^2.
        gt_crowd: (G,) bool, crowd regions.
        dt_image: (D,) int64, positions in `image_ids`.
        dt_class: (D,) int64, positions in `class_ids`.
        dt_box: (D, 4) float64, xywh in px of the original image.
        dt_score: (D,) float64.
        cache: results that several evaluations share.
    """

    image_ids: list[Any]
    class_ids: list[Any]
    class_names: list[str]
    gt_image: Array
    gt_class: Array
    gt_box: Array
    gt_area: Array
    gt_crowd: Array
    dt_image: Array
    dt_class: Array
    dt_box: Array
    dt_score: Array
    cache: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def objects_per_class(self) -> Array:
        """Number of ground-truth boxes without crowd regions, (K,) int64: the denominators of recall."""
        return np.bincount(self.gt_class[~self.gt_crowd], minlength=len(self.class_ids))

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of images, boxes without crowd regions, crowd regions and detections."""
        crowds = int(self.gt_crowd.sum())
        return {
            "images": len(self.image_ids),
            "boxes": len(self.gt_image) - crowds,
            "crowds": crowds,
            "detections": len(self.dt_image),
        }

    def with_detections(self, image: Array, cls: Array, box: Array, score: Array) -> CocoData:
        """Return the same ground truth with other detections, which have to be checked already.

        Args:
            image: (D,) int64, positions in `image_ids`.
            cls: (D,) int64, positions in `class_ids`.
            box: (D, 4) float64, xywh in px of the original image.
            score: (D,) float64.
        """
        # `replace` alone would pass the cache of other detections on.
        return replace(self, dt_image=image, dt_class=cls, dt_box=box, dt_score=score, cache={})

    def subset(self, gt_rows: Array, dt_rows: Array) -> CocoData:
        """Return the same images and classes with some of the objects and detections.

        Args:
            gt_rows: (g,) int64, rows of the objects to keep.
            dt_rows: (d,) int64, rows of the detections to keep.
        """
        columns = {name: getattr(self, name)[gt_rows if name.startswith("gt") else dt_rows] for name in _COLUMNS}
        # An empty cache: its results are of all rows.
        return replace(self, **columns, cache={})


_COLUMNS = ("gt_image", "gt_class", "gt_box", "gt_area", "gt_crowd", "dt_image", "dt_class", "dt_box", "dt_score")


def prepare(targets: Mapping[str, Any] | CocoData, detections: Sequence[Mapping[str, Any]] | None) -> CocoData:
    """Check and convert the input. A `CocoData` is returned as it is, so several evaluations share one conversion.

    Args:
        targets: COCO ground truth: `images`, `annotations`, `categories`. `area` and `iscrowd` may be absent (box area,
            0); `segmentation` is never read. Or a `CocoData`, then `detections` must be None.
        detections: COCO results: `image_id`, `category_id`, `bbox` [x, y, width, height], `score`. May be empty.

    Raises:
        InputError: a missing key, an id that the targets do not have, a repeated id or class name, a box or score that
            is not finite, a negative width or height.
    """
    if isinstance(targets, CocoData):
        if detections is not None:
            raise InputError("prepared input already holds its detections; pass None in their place")
        return targets
    if detections is None:
        raise InputError("no detections given: expected a COCO results list (an empty list is allowed)")
    return add_detections(read_truth(targets), detections)


def read_truth(targets: Mapping[str, Any]) -> CocoData:
    """Convert the ground truth alone, for several lists of detections.

    Args:
        targets: COCO ground truth as in `prepare`.

    Raises:
        InputError: as in `prepare`.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(targets, Mapping) or not isinstance(targets.get(key), list):
            raise InputError(f"ground truth has no list {key!r}; a COCO file has images, annotations and categories")
    images, categories, boxes = targets["images"], targets["categories"], targets["annotations"]
    image_ids = sorted_ids(images, "images")
    class_ids = sorted_ids(categories, "categories")
    name_of = {category["id"]: str(category.get("name", category["id"])) for category in categories}
    class_names = [name_of[class_id] for class_id in class_ids]
    if repeated := [name for name, n in Counter(class_names).items() if n > 1]:
        raise InputError(f"class name {abbreviate(repeated)} stands for several categories; names must be unique")
    gt_box = box_column(boxes, "annotation")
    if repeated := [key for key, n in Counter(hashable(box["id"]) for box in boxes if "id" in box).items() if n > 1]:
        raise InputError(f"annotation id {abbreviate(repeated)} occurs more than once; ids must be unique")
    area = [box.get("area") for box in boxes]
    own = (gt_box[:, 2] * gt_box[:, 3]).tolist()
    return CocoData(
        image_ids=image_ids,
        class_ids=class_ids,
        class_names=class_names,
        gt_image=positions(boxes, "image_id", index_of(image_ids), "annotation"),
        gt_class=positions(boxes, "category_id", index_of(class_ids), "annotation"),
        gt_box=gt_box,
        gt_area=finite_column([o if a is None else a for a, o in zip(area, own, strict=True)], "annotation", "area"),
        gt_crowd=np.fromiter((bool(box.get("iscrowd", 0)) for box in boxes), dtype=bool, count=len(boxes)),
        dt_image=np.zeros(0, np.int64),
        dt_class=np.zeros(0, np.int64),
        dt_box=np.zeros((0, 4)),
        dt_score=np.zeros(0),
    )


def add_detections(truth: CocoData, detections: Sequence[Mapping[str, Any]]) -> CocoData:
    """Return ground truth with the detections of a results list.

    Args:
        truth: what `read_truth` returned.
        detections: COCO results list as in `prepare`.

    Raises:
        InputError: as in `prepare`.
    """
    if not isinstance(detections, Sequence) or isinstance(detections, str | bytes):
        raise InputError(
            f"detections are {detections!r:.40}, not a list; expected COCO results, one record with image_id, "
            "category_id, bbox and score per detection"
        )
    return truth.with_detections(
        positions(detections, "image_id", index_of(truth.image_ids), "detection"),
        positions(detections, "category_id", index_of(truth.class_ids), "detection"),
        box_column(detections, "detection"),
        finite_column(column(detections, "score", "detection"), "detection", "score"),
    )
