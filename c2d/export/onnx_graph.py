"""Write a detector as one ONNX file: image in, detections out, NMS inside."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from c2d.core.errors import InputError, first_line
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.export.image_detector import OUTPUTS, ImageDetector
from c2d.export.image_preparation import ImagePreparation
from c2d.export.tracing import prepare_thresholds, traceable

INPUT = "image"
OPSET = 19
"""Version of ONNX's operators. NonMaxSuppression needs 11, RoiAlign of mmcv's kind 16, DeformConv 19."""
INSTEAD = "export it with --to folder: mmdet itself runs that"


def write_onnx(
    detector: Any, preparation: ImagePreparation, image: np.ndarray, path: Path, notes: Mapping[str, str] | None = None
) -> None:
    """Trace a detector on one image and write the recording.

    Args:
        detector: mmdet's, in eval mode, on the CPU. It is not changed.
        preparation: of its images.
        image: (H, W, 3) uint8, red first; its padding is not empty where images are padded.
        path: of the file.
        notes: what the file says of itself (`metadata_props`).

    Raises:
        InputError: the detector cannot be traced, or has an operator that ONNX has not.
    """
    kind = type(detector).__name__
    example = torch.from_numpy(np.ascontiguousarray(image))
    dynamic = {INPUT: {0: "height", 1: "width"}, **{name: {0: "detections"} for name in OUTPUTS}}
    # The older of torch's two exporters: it records what runs, and the newer one follows Python's branches.
    options: dict[str, Any] = {"dynamo": False, "opset_version": OPSET, "dynamic_axes": dynamic}
    try:
        model = ImageDetector(prepare_thresholds(detector), preparation).eval()
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad(), mmdet_scope():
            warnings.simplefilter("ignore")
            torch.onnx.register_custom_op_symbolic("torchvision::deform_conv2d", _deform_conv, OPSET)
            with traceable():
                traced = torch.jit.trace(model, (example,), check_trace=False, strict=False)
            torch.onnx.export(traced, (example,), str(path), input_names=[INPUT], output_names=list(OUTPUTS), **options)
        _add_notes(path, notes or {})
    except MemoryError:
        raise
    except Exception as error:  # any code of mmdet, torch and onnx runs here
        raise InputError(f"a {kind} cannot be written as ONNX: {_reason(error)}; {INSTEAD}") from error


def _reason(error: Exception) -> str:
    """What torch says, without the values of its graph and the place in its sources."""
    return re.split(r"\s+\[Caused by| INTERNAL ASSERT FAILED", first_line(error))[0][:200]


def _add_notes(path: Path, notes: Mapping[str, str]) -> None:
    import onnx

    model = onnx.load(str(path))
    for key, value in notes.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))


def example_image(preparation: ImagePreparation) -> np.ndarray:
    """Return (H, W, 3) uint8 noise for the trace: some detectors take another branch where nothing is padded."""
    height, width = preparation.short_side, preparation.long_side
    if preparation.keep_ratio:
        height, width = round(0.61 * width), width
        if height % max(2, preparation.divisor) == 0:
            height -= 1
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@torch.onnx.symbolic_helper.parse_args("v", "v", "v", "v", "v", *"i" * 9)
def _deform_conv(
    g: Any, input: Any, weight: Any, offset: Any, mask: Any, bias: Any, stride_h: int, stride_w: int, pad_h: int,
    pad_w: int, dilation_h: int, dilation_w: int, groups: int, offset_groups: int, use_mask: int,
) -> Any:  # fmt: skip
    """Return ONNX's DeformConv for torchvision's operator."""
    tensors = [input, weight, offset, bias, *([mask] if use_mask else [])]
    return g.op(
        "DeformConv", *tensors, strides_i=[stride_h, stride_w], pads_i=[pad_h, pad_w, pad_h, pad_w],
        dilations_i=[dilation_h, dilation_w], group_i=groups, offset_group_i=offset_groups,
    )  # fmt: skip
