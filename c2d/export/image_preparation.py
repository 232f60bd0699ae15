"""What a student does with an image before its network: read from its config, and stated for others.

Resize, padding before the normalisation (some pipelines), normalisation, padding after it. All rules are those of
mmdet's test pipeline and of its DetDataPreprocessor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from c2d.core.errors import InputError

IGNORED = ("LoadImageFromFile", "LoadAnnotations", "PackDetInputs")
"""Steps of a test pipeline that do not change pixels."""
READ = ("Resize", "Pad")
PREPROCESSOR = "DetDataPreprocessor"
READ_KEYS = ("mean", "std", "bgr_to_rgb", "rgb_to_bgr", "pad_size_divisor", "pad_value")
OTHER_KEYS = ("type", "_scope_", "batch_augments", "boxtype2tensor", "non_blocking", "pad_mask", "mask_pad_value",
              "pad_seg", "seg_pad_value")  # fmt: skip
"""Keys that change no pixel of a test image."""


@dataclass(frozen=True)
class ImagePreparation:
    """How an image becomes the input of a network.

    Attributes:
        long_side, short_side: px. With `keep_ratio` the image is fitted into both, else they are width and height.
        keep_ratio: whether the ratio of the sides stays.
        canvas: (height, width) px that the resized image is padded to, before the normalisation; "square": to its
            longer side; None: it is not.
        canvas_value: pixel value of that padding, in the order of `reads_rgb`.
        mean, std: of each channel, in the order of `reads_rgb`; pixel values 0 to 255.
        reads_rgb: True for red first, False for blue first.
        divisor: the sides are padded to multiples of it, after the normalisation.
        value: of that padding.
    """

    long_side: int
    short_side: int
    keep_ratio: bool
    canvas: tuple[int, int] | str | None
    canvas_value: tuple[float, float, float]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    reads_rgb: bool
    divisor: int
    value: float

    def to_hub(self) -> dict[str, Any]:
        """Return the content of preprocessor_config.json, in names of Hugging Face's image processors.

        Mean and std belong to pixel values 0 to 255, red first, as `do_rescale` is false.
        """
        step = 1 if self.reads_rgb else -1
        if self.keep_ratio:
            size = {"shortest_edge": self.short_side, "longest_edge": self.long_side}
        else:
            size = {"height": self.short_side, "width": self.long_side}
        canvas = None
        if self.canvas is not None:
            canvas = (
                self.canvas
                if isinstance(self.canvas, str)
                else dict(zip(("height", "width"), self.canvas, strict=True))
            )
        return {
            "image_processor_type": "c2d",
            "do_resize": True,
            "size": size,
            "keep_ratio": self.keep_ratio,
            "resample": 2,
            "antialias": False,
            "do_rescale": False,
            "do_normalize": self.mean != (0, 0, 0) or self.std != (1, 1, 1),
            "image_mean": list(self.mean[::step]),
            "image_std": list(self.std[::step]),
            "channel_order": "rgb" if self.reads_rgb else "bgr",
            "do_pad": True,
            "pad_before_normalize": canvas,
            "pad_before_normalize_value": list(self.canvas_value[::step]) if canvas else None,
            "size_divisor": self.divisor,
            "pad_after_normalize_value": self.value,
        }


def image_preparation(config: Any) -> ImagePreparation:
    """Read how a student prepares an image.

    Args:
        config: of a run, with `model` and `test_dataloader`.

    Raises:
        InputError: a step of the pipeline or a key of the preprocessor that is not known here.
    """
    steps = [dict(step) for step in config["test_dataloader"]["dataset"]["pipeline"]]
    for step in steps:
        if step["type"] not in (*IGNORED, *READ):
            raise InputError(
                f"the test pipeline has the step {step['type']}, which an exported graph cannot hold; export with "
                "--to folder alone"
            )
    resize = _only(steps, "Resize")
    if resize is None or not isinstance(resize.get("scale"), list | tuple) or len(resize["scale"]) != 2:
        raise InputError("the test pipeline has no Resize with one scale; export with --to folder alone")
    pad = _only(steps, "Pad") or {}
    canvas: Any = None
    if pad.get("pad_to_square"):
        canvas = "square"
    elif pad:
        width, height = pad["size"]
        canvas = (height, width)
    filling = pad.get("pad_val", 0)
    filling = filling.get("img", 0) if isinstance(filling, Mapping) else filling
    width, height = resize["scale"]
    keep_ratio = bool(resize.get("keep_ratio", False))
    before = config["model"]["data_preprocessor"]
    unknown = [key for key in before if key not in (*READ_KEYS, *OTHER_KEYS)]
    if unknown or before.get("type", PREPROCESSOR).rpartition(".")[2] != PREPROCESSOR:
        what = f"the key {unknown[0]}" if unknown else f"the type {before['type']}"
        raise InputError(f"data_preprocessor has {what}, which is not known here; export with --to folder alone")
    no_mean = before.get("mean") is None
    return ImagePreparation(
        long_side=max(width, height) if keep_ratio else width,
        short_side=min(width, height) if keep_ratio else height,
        keep_ratio=keep_ratio,
        canvas=canvas,
        canvas_value=_three(filling),
        mean=(0.0, 0.0, 0.0) if no_mean else _three(before["mean"]),
        std=(1.0, 1.0, 1.0) if no_mean else _three(before["std"]),
        reads_rgb=bool(before.get("bgr_to_rgb") or before.get("rgb_to_bgr")),  # both swap the channels
        divisor=int(before.get("pad_size_divisor", 1)),
        value=float(before.get("pad_value", 0)),
    )


def _only(steps: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    found = [step for step in steps if step["type"] == kind]
    if len(found) > 1:
        raise InputError(f"the test pipeline has {len(found)} steps {kind}; export with --to folder alone")
    return found[0] if found else None


def _three(value: Any) -> tuple[float, float, float]:
    red, green, blue = (value,) * 3 if isinstance(value, int | float) else value
    return float(red), float(green), float(blue)
