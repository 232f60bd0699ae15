"""Pipelines of mmdet transforms for the images that a classifier teacher's crops are taken from.

The crops are taken from the output of the pipeline, so the teacher is trained with the augmentation of its students.
The pipelines are ours; the paper only states that SSD has a teacher of its own, because of its augmentation. That of
ImageNet is the usual one (`c2d.detectors.whole_image_crops`).
"""

from __future__ import annotations

from typing import Any

from c2d.core.errors import unknown_name

KINDS = ("general", "ssd", "imagenet", "held-out", "imagenet-held-out")
SHORT_SIDE = 8 / 7
"""Of an image before its centre is taken, relative to the side of the centre: 256 px for 224 px."""


def teacher_pipeline(kind: str, image_size: int) -> list[dict[str, Any]]:
    """Return the mmdet transforms from an image file to a packed sample.

    Args:
        kind: `general`, flip and resize with the aspect ratio kept, for students of the FPN families; `ssd`, SSD's
            photometric distortion, Expand, MinIoURandomCrop, resize to a square and flip; `imagenet`, a random part of
            an image that is one object, and flip; for scoring `held-out`, resize only, and `imagenet-held-out`, the
            centre of such an image.
        image_size: side in px of the square that the image is fitted into or (ssd) stretched to, or of its part.

    Raises:
        InputError: `kind` is none of these.
    """
    load: list[dict[str, Any]] = [
        {"type": "LoadImageFromFile", "backend_args": None},
        {"type": "LoadAnnotations", "with_bbox": True},
    ]
    fit = {"type": "Resize", "scale": (image_size, image_size), "keep_ratio": True}
    flip = {"type": "RandomFlip", "prob": 0.5}
    pack = {"type": "PackDetInputs", "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")}
    if kind == "general":
        return [*load, fit, flip, pack]
    if kind == "held-out":
        return [*load, fit, pack]
    if kind == "imagenet":
        part = {"type": "RandomResizedCrop", "size": image_size, "scale": (0.08, 1.0), "ratio": (3 / 4, 4 / 3)}
        return [*load, part, flip, pack]
    if kind == "imagenet-held-out":
        return [*load, {"type": "ResizedCenterCrop", "size": image_size, "short": round(SHORT_SIDE * image_size)}, pack]
    if kind == "ssd":
        # Expand fills with ImageNet's mean, listed as RGB; to_rgb converts it to the BGR that mmdet loads.
        expand = {"type": "Expand", "mean": [123.675, 116.28, 103.53], "to_rgb": True, "ratio_range": (1, 4)}
        cut = {"type": "MinIoURandomCrop", "min_ious": (0.1, 0.3, 0.5, 0.7, 0.9), "min_crop_size": 0.3}
        square = {"type": "Resize", "scale": (image_size, image_size), "keep_ratio": False}
        distort = {
            "type": "PhotoMetricDistortion",
            "brightness_delta": 32,
            "contrast_range": (0.5, 1.5),
            "saturation_range": (0.5, 1.5),
            "hue_delta": 18,
        }
        # Order and values of mmdet 3's SSD config; mmdet 2 distorted the image first.
        return [*load, expand, cut, square, flip, distort, pack]
    raise unknown_name("crop pipeline", kind, KINDS)
