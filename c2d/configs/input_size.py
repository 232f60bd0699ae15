"""Set the input size of a student: everything measured in pixels follows it.

`input_size` is an int s, images fitted into s x s, or a pair (long, short). The test pipeline's resize is the
reference: where a pipeline names that very size it gets the new one, and every other pixel size (multi-scale ranges,
crops, padding) is scaled by the ratio of the short sides. Anchors of FPN detectors are in strides and stay; SSD's are
in pixels of the input and are scaled with it, on the maps the network then has.
"""

from __future__ import annotations

import math
from typing import Any

from c2d.core.errors import InputError

Size = int | tuple[int, int]
# Keys that hold pixel sizes of images, in the transforms that mmdet and mmcv ship.
PIXEL_KEYS = {
    "Resize": ("scale",),
    "FixScaleResize": ("scale",),
    "RandomResize": ("scale",),
    "RandomChoiceResize": ("scales",),
    "FixShapeResize": ("width", "height"),
    "ResizeShortestEdge": ("scale", "max_size"),
    "Pad": ("size",),
    "BatchFixedSizePad": ("size",),
    "BatchSyncRandomResize": ("random_size_range",),
    "Mosaic": ("img_scale",),
    "MixUp": ("img_scale",),
    "RandomAffine": ("border",),
}


def resolve_input_size(own: Any, test_pipeline: list[dict[str, Any]], override: int | None) -> Size:
    """Return the input size in px: an int for a square, else (long, short).

    Args:
        own: `input_size` of the config; None to take that of the test pipeline.
        test_pipeline: the transforms of the test pipeline.
        override: new short side in px; None to keep it.

    Raises:
        InputError: the size is too small, or the pipeline has none.
    """
    if own is None:
        own = pipeline_size(test_pipeline)
    size: Size = own if isinstance(own, int) else (max(own), min(own))
    if override is None:
        return size
    if override < 32:
        raise InputError(f"input size {override} is too small: a detector's coarsest map needs at least 32 px")
    if isinstance(size, int):
        return override
    return (round(size[0] * override / size[1]), override)


def pipeline_size(pipeline: list[dict[str, Any]]) -> Size:
    """Return the size in px that a test pipeline resizes to: an int for a square, else (long, short).

    Raises:
        InputError: it has no Resize with a `scale`.
    """
    for step in pipeline:
        if step.get("type") == "ResizedCenterCrop":  # of a classifier on whole images
            return int(step["size"])
        if step.get("type") in ("Resize", "FixScaleResize") and step.get("scale") is not None:
            scale = step["scale"]
            pair = (scale, scale) if isinstance(scale, int) else (max(scale), min(scale))
            return int(pair[0]) if pair[0] == pair[1] else (int(pair[0]), int(pair[1]))
    raise InputError("the test pipeline has no Resize with a `scale`; the student's input size cannot be read from it")


def apply_input_size(
    model: dict[str, Any], pipelines: list[list[dict[str, Any]]], stock: Size, size: Size, name: str
) -> list[list[dict[str, Any]]]:
    """Return pipelines with every pixel size set or scaled for `size`.

    Args:
        model: config of the model; changed in place.
        pipelines: of training and test.
        stock: input size in px that they are written for; if that is `size`, nothing changes.
        size: input size in px.
        name: the student, for messages.

    Raises:
        InputError: SSD's maps would be empty at this size.
    """
    if size == stock:
        return pipelines
    factor = _short(size) / _short(stock)

    def scaled(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            pair = tuple(value)
            if len(pair) == 2 and all(isinstance(v, int) for v in pair) and (max(pair), min(pair)) == _pair(stock):
                long, short = _pair(size)
                return type(value)((long, short) if pair[0] >= pair[1] else (short, long))
            return type(value)(scaled(v) for v in value)
        if not isinstance(value, (int, float)):
            return value
        if value < 0:  # -1 stands for any size; RandomAffine's border is below 0
            return value if value == -1 else round(value * factor)
        return max(1, round(value * factor))

    def followed(step: dict[str, Any]) -> dict[str, Any]:
        keys = PIXEL_KEYS.get(str(step.get("type")), ())
        # RandomCrop's crop_size is in pixels only for absolute crop types; otherwise it is a fraction.
        if step.get("type") == "RandomCrop" and str(step.get("crop_type", "absolute")).startswith("absolute"):
            keys = ("crop_size",)
        return {key: scaled(value) if key in keys else _inside(value, followed) for key, value in step.items()}

    augments = (model.get("data_preprocessor") or {}).get("batch_augments")
    if augments:
        model["data_preprocessor"]["batch_augments"] = [followed(step) for step in augments]
    _scale_ssd(model, _short(size), _short(stock), name)
    return [[followed(step) for step in pipeline] for pipeline in pipelines]


def _inside(value: Any, followed: Any) -> Any:
    """Apply `followed` to transforms nested in transforms (RandomChoice, RandomApply, TestTimeAug)."""
    if isinstance(value, dict) and "type" in value:
        return followed(value)
    if isinstance(value, list):
        return [_inside(item, followed) for item in value]
    return value


def with_pairs_as_tuples(step: Any) -> Any:
    """Return a step, and those inside it, whose pixel sizes of two numbers are tuples: YAML has lists alone.

    Args:
        step: of a pipeline; anything but a dict with a `type` is returned as it is.
    """

    def as_tuples(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if len(value) == 2 and not any(isinstance(item, list | tuple) for item in value):
            return tuple(value)
        return [as_tuples(item) for item in value]

    def followed(step: dict[str, Any]) -> dict[str, Any]:
        keys = PIXEL_KEYS.get(str(step.get("type")), ())
        return {key: as_tuples(value) if key in keys else _inside(value, followed) for key, value in step.items()}

    return _inside(step, followed)


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _short(size: Size) -> int:
    return size if isinstance(size, int) else min(size)


def _scale_ssd(model: dict[str, Any], size: int, stock: int, name: str) -> None:
    """Scale SSD's anchor sizes with the input; a stride is input over map size where maps do not halve exactly."""
    head, neck = model.get("bbox_head") or {}, model.get("neck") or {}
    generator = head.get("anchor_generator") if isinstance(head, dict) else None
    if not isinstance(generator, dict) or generator.get("type") != "SSDAnchorGenerator":
        return
    low, high = ssd_anchor_sizes(generator)
    strides = [s if isinstance(s, int) else s[0] for s in generator["strides"]]
    maps = ssd_maps(neck, size, strides)
    if min(maps) < 1:
        raise InputError(f"student '{name}' cannot have input size {size}: its maps would be {maps} cells; use {stock}")
    was = ssd_maps(neck, stock, strides)
    # The stock strides are the nominal ones (8, 16, ... or input / cells); keep what the stock file did at each level.
    exact = [abs(stock / cells - stride) <= 0.5 for cells, stride in zip(was, strides, strict=True)]
    generator.update(
        min_sizes=[value * size / stock for value in low],
        max_sizes=[value * size / stock for value in high],
        strides=[
            round(size / cells) if by_map and not _power_of_two(stride) else stride
            for cells, stride, by_map in zip(maps, strides, exact, strict=True)
        ],
    )
    for key in ("basesize_ratio_range", "input_size"):
        generator.pop(key, None)


def _power_of_two(value: int) -> bool:
    return value & (value - 1) == 0


def ssd_maps(neck: dict[str, Any], size: int, strides: list[int]) -> list[int]:
    """Return the cells per side of each SSD map: two from the backbone, the rest from the neck's convolutions.

    Args:
        neck: config of the SSDNeck.
        size: side of the square input in px.
        strides: strides of the anchor generator in px.
    """
    # Rounded up: VGG pools with ceil_mode.
    maps = [math.ceil(size / strides[0]), math.ceil(math.ceil(size / strides[0]) / 2)]
    levels = list(zip(neck["level_strides"], neck["level_paddings"], strict=True))
    for index, (stride, padding) in enumerate(levels):
        kernel = neck.get("last_kernel_size", 3) if index == len(levels) - 1 else 3
        maps.append((maps[-1] + 2 * padding - kernel) // stride + 1 if maps[-1] > 0 else 0)
    return maps


def ssd_anchor_sizes(generator: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return (min_sizes, max_sizes) in px of an SSD anchor generator, by building the stock one."""
    if generator.get("min_sizes"):
        return list(generator["min_sizes"]), list(generator["max_sizes"])
    from c2d.detectors import compat

    compat.prepare()
    from mmdet.models.task_modules.prior_generators import SSDAnchorGenerator

    built = SSDAnchorGenerator(**{key: value for key, value in generator.items() if key != "type"})
    low = [float(value) for value in built.base_sizes]
    # The second scale of mmdet is the square root of max size / min size.
    return low, [value * float(scales[1]) ** 2 for value, scales in zip(low, built.scales, strict=True)]
