"""Formulas for the FLOPs of torch's operators, and the lists of operators that count as free.

Counted: operators with a formula in `torch.utils.flop_counter` (matrix products, convolutions, attention) or in
`formulas` below. Free, so 0 without a note: operators that move, view or create data (`LAYOUT`), and one operation an
element (`ELEMENTWISE`), which by the convention of all counters is no multiply-add. Batch norm in eval mode is free: it
is one multiply-add an element and can be folded into the convolution before it. Everything else is listed by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["counted", "free", "uncounted"]
Shape = Sequence[int]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LAYOUT = _words(
    """
    alias arange as_strided as_strided_scatter broadcast_to cat chunk clone constant_pad_nd contiguous copy detach
    diagonal empty empty_like empty_strided expand eye fill flatten full full_like gather index index_put index_select
    item lift_fresh linspace masked_fill masked_select meshgrid movedim narrow native_dropout new_empty
    new_empty_strided new_full new_ones new_zeros nonzero ones ones_like pad permute pixel_shuffle pixel_unshuffle rand
    randn repeat reshape resize rot90 roll scalar_tensor scatter select set_ slice slice_scatter split
    split_with_sizes squeeze stack t tile to transpose triu tril unbind unfold unsafe_split unsafe_view unsqueeze view
    view_as where zero zeros zeros_like _local_scalar_dense _reshape_alias _to_copy _unsafe_index _unsafe_view
    """
)
ELEMENTWISE = _words(
    """
    abs add addcdiv addcmul all any bitwise_and bitwise_not bitwise_or ceil celu clamp clamp_max clamp_min cos div elu
    eq erf exp expm1 floor floor_divide ge gelu glu gt hardsigmoid hardswish hardtanh isfinite isinf isnan le leaky_relu
    log log1p log2 log_sigmoid_forward logical_and logical_not logical_or logit lt maximum minimum mish mul ne neg pow
    prelu reciprocal relu relu6 remainder round rsqrt rsub sgn sigmoid sign silu sin softplus sqrt square sub tanh
    threshold trunc xlogy _native_batch_norm_legit_no_training batch_norm native_batch_norm cudnn_batch_norm
    _batch_norm_no_update bernoulli dropout _prelu_kernel
    """
)


def matrix_vector(matrix: Shape, vector: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Return the FLOPs of (n, m) times (m,): 2 n m."""
    return 2 * math.prod(matrix)


def added_matrix_vector(_: Shape, matrix: Shape, vector: Shape, *__: Any, out_shape: Any = None, **___: Any) -> int:
    """Return the FLOPs of the same plus a bias, which no counter counts."""
    return 2 * math.prod(matrix)


def inner_product(a: Shape, b: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Return the FLOPs of (n,) times (n,): 2 n."""
    return 2 * math.prod(a)


def deformable_convolution(x: Shape, weight: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Return the FLOPs of a convolution with bilinear sampling: (1 + 4 / c_out) times those of a convolution.

    Shapes: x (N, C, H, W), weight (c_out, C / groups, k, k), out (N, c_out, h, w). The four multiply-adds of a bilinear
    sample are done once for all output channels.
    """
    positions = out_shape[0] * math.prod(out_shape[2:])
    return 2 * positions * math.prod(weight) + 2 * 4 * positions * x[1] * math.prod(weight[2:])


def roi_align(rois: Tensor, channels: int, bins: tuple[int, int], spatial_scale: float, samples: int) -> int:
    """Return the FLOPs of RoIAlign: a bilinear sample is four multiply-adds a channel; the mean is not counted.

    Args:
        rois: (K, 5), image index and xyxy px of the image.
        channels: of the map.
        bins: (height, width) of the output.
        spatial_scale: grid cells of the map per px of the image.
        samples: samples on a side of a bin; 0: as many as the region has grid cells per bin, rounded up.
    """
    height, width = bins
    if samples > 0:
        points = len(rois) * height * width * samples**2
    else:
        sides = (rois[:, 3:5] - rois[:, 1:3]).double().cpu() * spatial_scale
        # mmcv's rule for a sampling ratio of 0; a region without area has no samples.
        across, down = (sides[:, 0] / width).ceil().clamp_min(0), (sides[:, 1] / height).ceil().clamp_min(0)
        points = int((down * across).sum()) * height * width
    return 2 * 4 * channels * points


def _torchvision_roi_align(
    x: Tensor, rois: Tensor, scale: float, height: int, width: int, samples: int, *_: Any, out_val: Any = None
) -> int:
    return roi_align(rois, x.shape[1], (height, width), scale, samples)


_torchvision_roi_align._get_raw = True  # type: ignore[attr-defined]  # torch passes tensors instead of shapes


def formulas() -> dict[Any, Callable[..., int]]:
    """Return formulas beside torch's own, as `FlopCounterMode(custom_mapping=...)` takes them: shapes -> FLOPs."""
    import torchvision  # noqa: F401  (registers its operators)

    aten, vision = torch.ops.aten, torch.ops.torchvision
    return {
        aten.mv: matrix_vector,
        aten.addmv: added_matrix_vector,
        aten.dot: inner_product,
        aten.vdot: inner_product,
        vision.deform_conv2d: deformable_convolution,
        vision.roi_align: _torchvision_roi_align,
    }


def operator_kind(packet: Any, counted: Any) -> Kind:
    """Return the kind of an operator.

    Args:
        packet: torch's `OpOverloadPacket`.
        counted: the operators with a formula.
    """
    if packet in counted:
        return "counted"
    namespace, _, name = str(packet).partition(".")
    if namespace == "prim" or (namespace == "aten" and _base_name(name) in LAYOUT | ELEMENTWISE):
        return "free"
    return "uncounted"


def _base_name(name: str) -> str:
    """Return the name without the underscore of the in-place variant: `add_` is the same work as `add`."""
    return name if name in LAYOUT else name.removesuffix("_")
