"""Sizes of the padded batches that a student's transforms make of COCO images, without any file.

The transforms of the student's training (or test) run on empty images of the sizes of `coco_images.SIZES`; images are
put together at random, and every batch is padded to its largest image, as the student's preprocessor does it. Where
images are mixed (Mosaic, MixUp) the input size of the student takes their place: such pipelines end in a square.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.hours.coco_images import SIZES

IMAGES, SAME = 64, 4
"""Images that pass the transforms; so many of one shape are enough: the transforms then end in a fixed size."""


@dataclass(frozen=True)
class BatchShape:
    """The padded images of a batch.

    Attributes:
        height, width: px, of the batch whose area is nearest to the mean: the shape to count at.
        mean_pixels: mean area of a padded image in px^2.
    """

    height: int
    width: int
    mean_pixels: float

    @property
    def scale(self) -> float:
        """Mean area over that of (height, width)."""
        return self.mean_pixels / (self.height * self.width)


def batch_shape(pipeline: Sequence[Any], test_pipeline: Sequence[Any], model: Any, images: int) -> BatchShape:
    """Return the shape of the batches of a pipeline.

    Args:
        pipeline: configs of its steps.
        test_pipeline: of the same student, for its input size where images are mixed.
        model: config of the student, for the padding, and for random sizes of whole batches.
        images: of a batch on one GPU.
    """
    from c2d.configs.image_mixing import mixing_steps
    from c2d.configs.input_size import pipeline_size

    mixed = any(True for _ in mixing_steps(list(pipeline)))
    size = pipeline_size([dict(step) for step in test_pipeline])
    square = (size, size) if isinstance(size, int) else size
    shapes = [square[::-1]] * SAME if mixed else _shapes(pipeline)
    preprocessor = model.get("data_preprocessor") or {}
    divisor = int(preprocessor.get("pad_size_divisor", 1))
    shuffled = random.Random(0)
    batches = []
    for _ in range(IMAGES):
        chosen = shuffled.choices(shapes, k=images)
        height, width = (divisor * math.ceil(max(sides) / divisor) for sides in zip(*chosen, strict=True))
        batches.append((height, width))
    mean = sum(height * width for height, width in batches) / len(batches)
    height, width = min(batches, key=lambda shape: abs(shape[0] * shape[1] - mean))
    return BatchShape(height, width, mean * _random_area(preprocessor, size))


def _shapes(pipeline: Sequence[Any]) -> list[tuple[int, int]]:
    """Heights and widths after the steps; the first two, which read files, are left out."""
    import numpy as np
    from mmdet.structures.bbox import HorizontalBoxes

    from c2d.detectors.training_pipeline import build_steps
    from c2d.ops.seeding import temporary_seed

    steps = build_steps([step for step in pipeline if not str(step["type"]).startswith("Load")], None, lambda _: {})
    sizes = [size for size, count in SIZES.items() for _ in range(count)]
    random.Random(0).shuffle(sizes)
    shapes: list[tuple[int, int]] = []
    for place, (width, height) in enumerate(sizes[:IMAGES]):
        box = np.array([[0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height]], dtype=np.float32)
        results = {
            "img": np.zeros((height, width, 3), dtype=np.uint8), "img_path": "", "img_id": place,
            "img_shape": (height, width), "ori_shape": (height, width), "height": height, "width": width,
            "gt_bboxes": HorizontalBoxes(box), "gt_bboxes_labels": np.zeros(1, dtype=np.int64),
            "gt_ignore_flags": np.zeros(1, dtype=bool),
        }  # fmt: skip
        with temporary_seed(place):
            done = steps(results)
        if done is not None:  # a step may refuse an image
            shapes.append((int(done["inputs"].shape[-2]), int(done["inputs"].shape[-1])))
        if len(shapes) == SAME and len(set(shapes)) == 1:
            break
    return shapes


def _random_area(preprocessor: Any, size: Any) -> float:
    """Mean area of batches that are resized at random (YOLOX), over the area before."""
    for step in preprocessor.get("batch_augments") or []:
        if step.get("type") == "BatchSyncRandomResize":
            low, high = step["random_size_range"]
            own = size if isinstance(size, int) else math.sqrt(size[0] * size[1])
            return float((low**2 + low * high + high**2) / (3 * own**2))
    return 1.0
