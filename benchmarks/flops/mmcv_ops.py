"""mmcv's own operators, seen: they are called as functions of `mmcv._ext`, past torch's dispatcher.

Inside `watching` every function of that module is replaced by one that notes the call, compiled ops and our stand-ins
alike. RoIAlign and the deformable convolutions have formulas; any other function (NMS: its work depends on the boxes)
is noted by name, to be listed as uncounted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.flops.op_formulas import roi_align

Note = Callable[[str, int | None], None]
"""Takes an operator's name and its FLOPs, None where nobody counts them."""

NO_WORK = ("get_compiler_version", "get_compiling_cuda_version")


def _roi_align(input: Tensor, rois: Tensor, output: Tensor, *_: Any, **given: Any) -> int:
    bins = given["aligned_height"], given["aligned_width"]
    return roi_align(rois, input.shape[1], bins, given["spatial_scale"], given["sampling_ratio"])


def _deformed(input: Tensor, weight: Tensor, places: int) -> int:
    """As `opkinds.deformed_convolution`, the output given by its number of places N h w."""
    return 2 * places * weight.numel() + 2 * 4 * places * input.shape[1] * math.prod(weight.shape[2:])


def _deform_conv(input: Tensor, weight: Tensor, offset: Tensor, *_: Any, **__: Any) -> int:
    return _deformed(input, weight, offset.shape[0] * math.prod(offset.shape[2:]))  # offset (N, 2 k k, h, w)


def _modulated_deform_conv(
    input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, *_: Any, **__: Any
) -> int:
    return _deformed(input, weight, offset.shape[0] * math.prod(offset.shape[2:]))


FORMULAS: dict[str, Callable[..., int]] = {
    "roi_align_forward": _roi_align,
    "deform_conv_forward": _deform_conv,
    "modulated_deform_conv_forward": _modulated_deform_conv,
}


@contextmanager
def watching(note: Note, module: Any = None) -> Iterator[list[int]]:
    """Note every call of a function of `mmcv._ext` (or `module`); afterwards it is as before.

    Yields a list whose only entry is the number of such calls that run at the moment: what the dispatcher sees
    meanwhile is the inside of one of them.
    """
    if module is None:
        from importlib import import_module

        from c2d.detectors import compat

        compat.prepare()
        module = import_module(compat.EXTENSION)
    before = {
        name: value
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and name not in NO_WORK
    }
    inside = [0]

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            inside[0] += 1
            try:
                if inside[0] == 1:
                    with torch.no_grad():
                        note(f"mmcv.{name}", FORMULAS[name](*args, **kwargs) if name in FORMULAS else None)
                return function(*args, **kwargs)
            finally:
                inside[0] -= 1

        return call

    for name, value in before.items():
        setattr(module, name, noted(name, value))
    try:
        yield inside
    finally:
        for name, value in before.items():
            setattr(module, name, value)
