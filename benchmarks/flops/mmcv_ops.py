"""Record the calls of mmcv's own operators: functions of `mmcv._ext`, which torch's dispatcher cannot see.

Inside `record_mmcv_calls` every function of that module is replaced by one that records the call, compiled operators
and our pure-Python ones alike. RoIAlign and the deformable convolutions have formulas. Any other function (NMS: its
work depends on the boxes) is recorded by name, to be listed as uncounted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.flops.op_formulas import roi_align

Record = Callable[[str, int | None], None]
"""Takes an operator's name and its FLOPs; None: it has no formula."""

NOT_OPERATORS = ("get_compiler_version", "get_compiling_cuda_version")


def _roi_align(input: Tensor, rois: Tensor, output: Tensor, *_: Any, **options: Any) -> int:
    bins = options["aligned_height"], options["aligned_width"]
    return roi_align(rois, input.shape[1], bins, options["spatial_scale"], options["sampling_ratio"])


def _deformable(input: Tensor, weight: Tensor, positions: int) -> int:
    """As `op_formulas.deformable_convolution`, with the output given by its number of positions N h w."""
    return 2 * positions * weight.numel() + 2 * 4 * positions * input.shape[1] * math.prod(weight.shape[2:])


def _deform_conv(input: Tensor, weight: Tensor, offset: Tensor, *_: Any, **__: Any) -> int:
    return _deformable(input, weight, offset.shape[0] * math.prod(offset.shape[2:]))  # offset (N, 2 k k, h, w)


def _modulated_deform_conv(
    input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, *_: Any, **__: Any
) -> int:
    return _deformable(input, weight, offset.shape[0] * math.prod(offset.shape[2:]))


FORMULAS: dict[str, Callable[..., int]] = {
    "roi_align_forward": _roi_align,
    "deform_conv_forward": _deform_conv,
    "modulated_deform_conv_forward": _modulated_deform_conv,
}


@contextmanager
def record_mmcv_calls(record: Record, module: Any = None) -> Iterator[list[int]]:
    """Record every call of a function of `mmcv._ext`; the module is restored at the end of the context.

    Args:
        record: gets each call.
        module: replaces `mmcv._ext` in tests.

    Yields:
        A list whose only entry is the number of such calls that run at the moment. Operators that the dispatcher sees
        meanwhile are inside one of them.
    """
    if module is None:
        from importlib import import_module

        from c2d.detectors import compat

        compat.prepare()
        module = import_module(compat.EXTENSION)
    originals = {
        name: value
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and name not in NOT_OPERATORS
    }
    # mmcv's wrappers read the function from the module at each call, so replacing the attribute is enough.
    depth = [0]

    def recorded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            depth[0] += 1
            try:
                # A pure-Python operator may call another one, whose work its own formula includes.
                if depth[0] == 1:
                    with torch.no_grad():
                        record(f"mmcv.{name}", FORMULAS[name](*args, **kwargs) if name in FORMULAS else None)
                return function(*args, **kwargs)
            finally:
                depth[0] -= 1

        return call

    for name, value in originals.items():
        setattr(module, name, recorded(name, value))
    try:
        yield depth
    finally:
        for name, value in originals.items():
            setattr(module, name, value)
