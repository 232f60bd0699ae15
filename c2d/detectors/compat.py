"""Prepare the host (mmengine, mmcv, mmdet) for use. This file needs nothing else of c2d.

Call `prepare()` before the first import of `mmcv.ops` or `mmdet`. A process that has only a `student.pth`, its config
and a copy of this file can load and run the student; that is why it is one file, although it is long. Six gaps are
closed, and each one only while the host has it:

1. **Compiled ops.** `pip install` of mmcv usually builds it without its extension `mmcv._ext`, and importing mmdet's
   models then fails. A finder at the *end* of the import path supplies a module of that name if nothing else does:
   the ops at the end of this file. Every other op exists by name and raises `MissingOp` when called. A compiled mmcv is
   used unchanged.
2. **SSD cannot predict.** See `_repair_ssd`.
3. **PAA needs scikit-learn** for a mixture of two Gaussians. Without it `GaussianMixture` of this file is used.
4. **TOOD reads the epoch** from mmengine's message hub, where the Runner writes it. Without a Runner it is 0.
5. **Messages at import.** Importing mmdet's continuation prints three times that an optional package is absent. Those
   lines are dropped by their text; everything else that the import prints, and every other warning, stays.
6. **A connection at import.** albumentations, which mmdet imports where it is installed, asks a server for its newest
   version. The variable that it reads for this is set, unless it is set already.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import os
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

EXTENSION = "mmcv._ext"
# What importing mmdet prints, and warns, about optional packages that we do not use.
DROPPED_LINES = ("Could not import OneDL. Skipping OneDL datasets.",)
DROPPED_WARNINGS = ("faster_coco_eval is not installed",)
# Distribution names of the two flavours: OpenMMLab's originals, and their maintained continuation (same import names).
FLAVOURS: dict[str, tuple[str, str, str]] = {
    "continued": ("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection"),
    "upstream": ("mmengine", "mmcv", "mmdet"),
}


class HostError(ImportError):
    """The host (mmengine, mmcv, mmdet) is absent or broken; the message names what to install."""

    exit_code = 2


class MissingOp(NotImplementedError):
    """An op of mmcv was called that only a compiled mmcv has."""

    exit_code = 2


@dataclass(frozen=True)
class HostReport:
    """What `prepare()` found and changed.

    Attributes:
        ext: "compiled" if mmcv has its own ops, "stand-in" if it got the ops of this file.
        ssd_repair: whether SSDHead had to be repaired.
        flavour: "upstream" or "continued".
        versions: distribution name -> version.
    """

    ext: Literal["compiled", "stand-in"]
    ssd_repair: bool
    flavour: str
    versions: dict[str, str] = field(default_factory=dict)


_report: HostReport | None = None


def prepare() -> HostReport:
    """Close the gaps of the host, import it and register all of mmdet; sets no default scope.

    Further calls return the report of the first one.

    Raises:
        HostError: mmcv or mmdet is missing, or mmcv's compiled ops exist but cannot be loaded.
    """
    global _report
    if _report is None:
        flavour, versions = installed_versions()
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        with _same_random_numbers(), quiet_import():
            ext = _supply_extension()
            register = _import("mmdet.utils").register_all_modules
            register(init_default_scope=False)
            repaired = _repair_ssd()
            _supply_mixture()
            _supply_epoch()
        _report = HostReport(ext, repaired, flavour, versions)
    return _report


@functools.cache
def read_metafiles_once() -> None:
    """Keep what mmengine reads to find `mmdet::` configs: for each it parses a hundred YAML files, for a second."""
    utils: Any = _import("mmengine.config.utils")
    utils.load = functools.cache(utils.load)


def installed_versions() -> tuple[str, dict[str, str]]:
    """Read flavour and versions of the installed host from the distributions' metadata; imports nothing.

    Returns:
        "continued" or "upstream", and distribution name -> version, those of torch and torchvision included.
    """
    versions: dict[str, str] = {}
    for name in ("torch", "torchvision", *FLAVOURS["continued"], *FLAVOURS["upstream"]):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    flavour = "continued" if FLAVOURS["continued"][2] in versions else "upstream"
    return flavour, versions


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("mmengine", "mmcv", "mmdet") and "." not in error.name:
            packages = " ".join(FLAVOURS["continued"])
            raise HostError(
                f"{error.name} is not installed and students need it; pip install {packages}", name=error.name
            ) from error
        raise


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Drop DROPPED_LINES and DROPPED_WARNINGS; print the other lines at the end, pass other warnings on at once."""
    caught = io.StringIO()
    try:
        with contextlib.redirect_stdout(caught), warnings.catch_warnings():
            for text in DROPPED_WARNINGS:
                warnings.filterwarnings("ignore", message=re.escape(text))
            yield
    finally:
        rest = [line for line in caught.getvalue().splitlines(keepends=True) if line.strip() not in DROPPED_LINES]
        sys.stdout.write("".join(rest))


@contextlib.contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Importing the host draws random numbers, and so does building an SSDHead; keep the caller's random states."""
    python, array = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)


# 1. Compiled ops


def _supply_extension() -> Literal["compiled", "stand-in"]:
    """Make `mmcv._ext` importable; return whose ops it has."""
    _import("mmcv")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    try:
        module = importlib.import_module(EXTENSION)
    except ImportError as error:
        raise HostError(
            f"mmcv's compiled ops are installed but cannot be loaded ({error}); they were probably built for another "
            f"torch than {torch.__version__}: {install_command()}",
            name=EXTENSION,
        ) from error
    return "stand-in" if "fallback" in vars(module) else "compiled"


def install_command() -> str:
    """Return the command that installs mmcv with compiled ops over the present one (a C++ compiler, 15 minutes).

    mmcv's setup.py builds its ops only where it can import torch, which pip's isolated builds prevent; and pip's cache
    would return the wheel without ops.
    """
    name = FLAVOURS[installed_versions()[0]][1]
    return f"pip install --no-build-isolation --no-deps --no-cache-dir --force-reinstall --no-binary {name} {name}"


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Supplies `mmcv._ext`. It is last on the import path, so a compiled extension is found first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != EXTENSION:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin="c2d.detectors.compat")

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(
            fallback=True,
            nms=nms,
            roi_align_forward=_average_only(roi_align_forward),
            roi_align_backward=_average_only(roi_align_backward),
            ms_deform_attn_forward=ms_deform_attn_forward,
            ms_deform_attn_backward=ms_deform_attn_backward,
            sigmoid_focal_loss_forward=sigmoid_focal_loss_forward,
            sigmoid_focal_loss_backward=sigmoid_focal_loss_backward,
            deform_conv_forward=deform_conv_forward,
            deform_conv_backward_input=deform_conv_backward_input,
            deform_conv_backward_parameters=deform_conv_backward_parameters,
            modulated_deform_conv_forward=modulated_deform_conv_forward,
            modulated_deform_conv_backward=modulated_deform_conv_backward,
            get_compiler_version=lambda: "none (stand-in on torchvision)",
            get_compiling_cuda_version=lambda: "none (stand-in on torchvision)",
            __getattr__=_missing,
        )


def _missing(name: str) -> Callable[..., Any]:
    """PEP 562: mmcv asserts at import that its ops exist, so each one does; it raises when it is called."""
    if name.startswith("__"):  # inspect and pickle read __file__, __path__, ... of every module
        raise AttributeError(name)

    def op(*_args: Any, **_kwargs: Any) -> Any:
        raise MissingOp(
            f"op '{name}' of mmcv needs compiled ops, this mmcv has none; a compiler and: {install_command()}"
        )

    op.__name__ = op.__qualname__ = name
    return op


def _average_only(op: Callable[..., None]) -> Callable[..., None]:
    """mmcv's roi_align passes the pooling mode (1: average) as an argument; the fallback has no other mode."""

    def checked(*args: Any, pool_mode: int, **options: Any) -> None:
        if pool_mode != 1:
            raise MissingOp(
                f"op '{op.__name__}' of mmcv with pool_mode='max' needs compiled ops, this mmcv has none; "
                f"use pool_mode='avg', or a compiler and: {install_command()}"
            )
        op(*args, **options)

    return checked


# 2. SSD


def _repair_ssd() -> bool:
    """Give SSDHead the attribute `loss_cls` = None; return whether the host needed it.

    Since mmdet 3.2 `BaseDenseHead._predict_by_feat_single` reads `self.loss_cls.custom_cls_channels` (used by V3Det's
    losses only). SSDHead computes its losses itself and skips AnchorHead's constructor, so it never has a
    `loss_cls` and every prediction fails with "'SSDHead' object has no attribute 'loss_cls'" (mmdetection issues
    #11063, #11305, #11780, open). None has no custom channels, which is what SSD needs. It is returned only where the
    normal lookup failed: a head that has a `loss_cls` keeps it, and no checkpoint gets another key.
    """
    from mmdet.models.dense_heads import SSDHead

    anchors = {"type": "AnchorGenerator", "strides": [8], "ratios": [1.0], "scales": [1.0]}
    if hasattr(SSDHead(num_classes=1, in_channels=(1,), anchor_generator=anchors), "loss_cls"):
        return False
    module_getattr = SSDHead.__getattr__  # torch.nn.Module's, called only after the ordinary lookup failed

    def __getattr__(self: Any, name: str) -> Any:
        if name == "loss_cls" and name not in self.__dict__.get("_modules", ()):
            return None
        return module_getattr(self, name)

    SSDHead.__getattr__ = __getattr__
    return True


# 3. PAA


def _supply_mixture() -> None:
    """Give PAA's head the mixture of this file where scikit-learn is not installed."""
    from mmdet.models.dense_heads import paa_head

    if paa_head.skm is None:
        paa_head.skm = SimpleNamespace(GaussianMixture=GaussianMixture)


class GaussianMixture:
    """Mixture of Gaussians of one variable, fitted by expectation and maximisation from given first parameters.

    The algorithm, its stopping rule and its constants are those of scikit-learn's class of this name.

    Args:
        n_components: number K of Gaussians.
        weights_init: (K,) first weights.
        means_init: (K, 1) first means.
        precisions_init: first inverse variances: (K, 1, 1), (K, 1) or (K,); (1, 1) where it is tied.
        covariance_type: `full`, `diag` or `spherical`, which are one of one variable, or `tied`: one variance for all.
    """

    TOLERANCE, STEPS, FLOOR = 1e-3, 100, 1e-6

    def __init__(self, n_components: int, weights_init: Any, means_init: Any, precisions_init: Any,
                 covariance_type: str = "full") -> None:  # fmt: skip
        self.tied = covariance_type == "tied"
        self.weights, self.means = np.asarray(weights_init, float), np.asarray(means_init, float).reshape(-1)
        self.variances = np.broadcast_to(1 / np.asarray(precisions_init, float).reshape(-1), (n_components,))

    def fit(self, values: Any) -> GaussianMixture:
        """Fit the mixture to values (N, 1)."""
        column, bound = np.asarray(values, float), -np.inf
        for _ in range(self.STEPS):
            before, joint = bound, self._log_joint(column)
            evidence = np.logaddexp.reduce(joint, axis=1, keepdims=True)
            shares, bound = np.exp(joint - evidence), evidence.mean()
            counts = shares.sum(0) + 10 * np.finfo(float).eps
            self.means = (shares * column).sum(0) / counts
            spread = (shares * (column - self.means) ** 2).sum(0)
            if self.tied:
                spread = np.full_like(spread, spread.sum()) * counts / counts.sum()
            self.variances, self.weights = spread / counts + self.FLOOR, counts / counts.sum()
            if abs(bound - before) < self.TOLERANCE:
                break
        return self

    def predict(self, values: Any) -> Any:
        """Return the likeliest component of each of the values (N, 1): (N,)."""
        return self._log_joint(np.asarray(values, float)).argmax(1)

    def score_samples(self, values: Any) -> Any:
        """Return the log-density at each of the values (N, 1): (N,)."""
        return np.logaddexp.reduce(self._log_joint(np.asarray(values, float)), axis=1)

    def _log_joint(self, column: Any) -> Any:
        density = -0.5 * (np.log(2 * np.pi * self.variances) + (column - self.means) ** 2 / self.variances)
        return density + np.log(self.weights)


# 4. TOOD


def _supply_epoch() -> None:
    """Write epoch 0 to the message hub where nothing has written one; a Runner, or a training loop, counts it on."""
    from mmengine.logging import MessageHub

    hub = MessageHub.get_current_instance()
    if "epoch" not in hub.runtime_info:
        hub.update_info("epoch", 0)


# Ops: they have the signatures of the functions of `mmcv._ext`, run on CPU and CUDA in fp32, fp64, fp16 and bf16, and
# use torchvision's kernels or plain torch.


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Suppress boxes greedily by overlap.

    Among equal scores the lower index comes first, on every machine; mmcv's own sort leaves that open.

    Args:
        bboxes: (N, 4) xyxy, px.
        scores: (N,).
        iou_threshold: boxes with a larger IoU are dropped.
        offset: 0, or 1 for the old convention that a box includes its last pixel: width = x2 - x1 + 1.

    Returns:
        (K,) long, indices of the kept boxes, best first.
    """
    import torchvision.ops

    boxes, values = _full_precision(bboxes), _full_precision(scores)
    if offset:
        # One more pixel to the right and below gives exactly the areas and overlaps of offset 1.
        boxes = boxes + boxes.new_tensor([0.0, 0.0, offset, offset])
    # mmcv compares in single precision: an overlap of exactly 0.3 is kept at a threshold of 0.3.
    threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    return torchvision.ops.nms(boxes, values.to(boxes.dtype), threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> None:
    """Compute RoIAlign with average pooling into `output`.

    Args:
        input: (N, C, H, W) feature maps.
        rois: (K, 5): image index, then xyxy in px of the image, which is `input` / `spatial_scale`.
        output: (K, C, h, w), overwritten; h = `aligned_height`, w = `aligned_width`.
        argmax_y, argmax_x: unused, any shape; only max pooling fills them.
        spatial_scale: cells per px.
        sampling_ratio: samples per bin side; 0: as many as the bin has cells.
        aligned: shift by half a cell.
    """
    import torchvision  # noqa: F401  (registers torch.ops.torchvision)

    maps = _full_precision(input)
    args = (spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned)
    output.copy_(torch.ops.torchvision.roi_align(maps, rois.to(maps.dtype), *args))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> None:
    """Compute the gradient of `roi_align_forward` into `grad_input`.

    Args:
        grad_output: (K, C, h, w).
        rois: (K, 5), as in the forward pass.
        argmax_y, argmax_x: unused, any shape.
        grad_input: (N, C, H, W), overwritten.
        aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned: as in the forward pass.
    """
    import torchvision  # noqa: F401  (registers torch.ops.torchvision)

    upstream = _full_precision(grad_output)  # under autocast grad and rois differ in type; the kernel wants one type
    size = (spatial_scale, aligned_height, aligned_width, *grad_input.shape)
    grad = torch.ops.torchvision._roi_align_backward(upstream, rois.to(upstream.dtype), *size, sampling_ratio, aligned)
    grad_input.copy_(grad)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Compute the focal loss per row and class into `output`.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5, per class: -a (1-p)^g log p where the class
    is the target, -(1-a) p^g log(1-p) elsewhere.

    Args:
        input: (N, C) logits.
        target: (N,) long in [0, C]; C is background.
        weight: (C,) factor per target class, or empty (0,).
        output: (N, C), overwritten.
        gamma, alpha: g and a of the formula.
    """
    logits, hit = _full_precision(input), _one_hot(input, target)
    prob = logits.sigmoid()
    positive = -alpha * (1 - prob) ** gamma * torch.nn.functional.logsigmoid(logits)
    negative = -(1 - alpha) * prob**gamma * torch.nn.functional.logsigmoid(-logits)
    output.copy_(torch.where(hit, positive, negative) * _class_weight(weight, target, logits))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Compute the derivative of `sigmoid_focal_loss_forward` by its logits into `grad_input` (N, C)."""
    logits, hit = _full_precision(input), _one_hot(input, target)
    prob = logits.sigmoid()
    log_p, log_q = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    positive = -alpha * (1 - prob) ** gamma * (1 - prob - gamma * prob * log_p)
    negative = -(1 - alpha) * prob**gamma * (gamma * (1 - prob) * log_q - prob)
    grad_input.copy_(torch.where(hit, positive, negative) * _class_weight(weight, target, logits))


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **shape: int
) -> None:
    """Compute a deformable convolution into `output`.

    Dai et al., "Deformable Convolutional Networks", ICCV 2017, eq. 2.

    Args:
        input: (N, C, H, W).
        weight: (O, C / groups, kH, kW).
        offset: (N, 2 * deformable groups * kH * kW, h, w): of each point of the kernel (y, x) in cells.
        output: (N, O, h, w), overwritten.
        columns, ones: buffers, unused.
        shape: dW, dH, padW, padH, dilationW, dilationH, group, deformable_group; others are not used.
    """
    output.copy_(_deform_conv(input, weight, offset, None, None, _plain_shape(shape)))


def deform_conv_backward_input(
    input: Tensor, offset: Tensor, grad_output: Tensor, grad_input: Tensor, grad_offset: Tensor, weight: Tensor,
    columns: Tensor, **shape: int,
) -> None:  # fmt: skip
    """Compute the gradients of `deform_conv_forward` by input (N, C, H, W) and offset; the arguments are as there."""
    grads = _deform_conv_backward(grad_output, input, weight, offset, None, None, _plain_shape(shape))
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor, offset: Tensor, grad_output: Tensor, grad_weight: Tensor, columns: Tensor, ones: Tensor,
    scale: float, **shape: int,
) -> None:  # fmt: skip
    """Add `scale` times the gradient of `deform_conv_forward` to `grad_weight`.

    Args:
        input, offset: as there.
        grad_output: (N, O, h, w).
        grad_weight: (O, C / groups, kH, kW), changed.
        columns, ones: buffers, unused.
        scale: factor.
        shape: as there.
    """
    weight = torch.zeros_like(grad_weight)  # the gradient by the weight does not depend on it
    grads = _deform_conv_backward(grad_output, input, weight, offset, None, None, _plain_shape(shape))
    grad_weight.add_(grads[1].to(grad_weight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, mask: Tensor, output: Tensor,
    columns: Tensor, *, with_bias: bool, **shape: int,
) -> None:  # fmt: skip
    """Compute a modulated deformable convolution into `output`.

    Zhu et al., "Deformable ConvNets v2", CVPR 2019, eq. 1.

    Args:
        input, weight, offset, output: as in `deform_conv_forward`.
        bias: (O,), or empty.
        mask: (N, deformable groups * kH * kW, h, w), factor of each point of the kernel.
        ones, columns: buffers, unused.
        with_bias: whether `bias` counts.
        shape: stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group; others are not used.
    """
    output.copy_(_deform_conv(input, weight, offset, mask, bias if with_bias else None, _modulated_shape(shape)))


def modulated_deform_conv_backward(
    input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor, mask: Tensor, columns: Tensor,
    grad_input: Tensor, grad_weight: Tensor, grad_bias: Tensor, grad_offset: Tensor, grad_mask: Tensor,
    grad_output: Tensor, *, with_bias: bool, **shape: int,
) -> None:  # fmt: skip
    """Compute the gradients of `modulated_deform_conv_forward`, by input (N, C, H, W) and the others, into `grad_*`."""
    given = bias if with_bias else None
    grads = _deform_conv_backward(grad_output, input, weight, offset, mask, given, _modulated_shape(shape))
    targets = (grad_input, grad_weight, grad_offset, grad_mask) + ((grad_bias,) if with_bias else ())
    for target, grad in zip(targets, grads, strict=False):  # without a bias the last gradient is unused
        target.copy_(grad)


def _plain_shape(shape: dict[str, int]) -> tuple[int, ...]:
    names = ("dH", "dW", "padH", "padW", "dilationH", "dilationW", "group", "deformable_group")
    return tuple(shape[name] for name in names)


def _modulated_shape(shape: dict[str, int]) -> tuple[int, ...]:
    names = ("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "group", "deformable_group")
    return tuple(shape[name] for name in names)


def _deform_arguments(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None
) -> list[Tensor]:
    """Tensors as torchvision's kernels take them, in one type; an absent mask or bias is empty or zero."""
    import torchvision  # noqa: F401  (registers torch.ops.torchvision)

    maps = _full_precision(input)
    mask = maps.new_zeros(len(maps), 1) if mask is None else mask
    bias = maps.new_zeros(len(weight)) if bias is None else bias
    return [tensor.to(maps.dtype) for tensor in (maps, weight, offset, mask, bias)]


def _deform_conv(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None, shape: tuple[int, ...]
) -> Tensor:
    tensors = _deform_arguments(input, weight, offset, mask, bias)
    result: Tensor = torch.ops.torchvision.deform_conv2d(*tensors, *shape, mask is not None)
    return result


def _deform_conv_backward(
    grad: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor | None,
    shape: tuple[int, ...],
) -> tuple[Tensor, ...]:  # fmt: skip
    """Gradients by input, weight, offset, mask and bias."""
    tensors = _deform_arguments(input, weight, offset, mask, bias)
    upstream = grad.to(tensors[0].dtype)
    grads: tuple[Tensor, ...] = torch.ops.torchvision._deform_conv2d_backward(
        upstream, *tensors, *shape, mask is not None
    )
    return grads


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    *,
    im2col_step: int,
) -> Tensor:
    """Compute multi-scale deformable attention: weighted bilinear samples of the maps around each query.

    Zhu et al., "Deformable DETR", ICLR 2021, eq. 3. mmcv calls it on GPUs alone; on CPUs it has a form of its own.

    Args:
        value: (B, S, M, D), of M heads; the S cells of all levels one after the other.
        spatial_shapes: (L, 2) long, height and width of each level.
        level_start_index: (L,) long, first cell of each level.
        sampling_locations: (B, Q, M, L, P, 2), x and y as shares of the map.
        attention_weights: (B, Q, M, L, P).
        im2col_step: images a pass of the compiled kernel; here all at once.

    Returns:
        (B, Q, M D).
    """
    maps, at, weights = (_full_precision(tensor) for tensor in (value, sampling_locations, attention_weights))
    images, _, heads, width = maps.shape
    queries = at.shape[1]
    total = maps.new_zeros(images * heads, width, queries)
    for level, (height, breadth) in enumerate(spatial_shapes.tolist()):
        first = int(level_start_index[level])
        cells = maps[:, first : first + height * breadth]
        plane = cells.permute(0, 2, 3, 1).reshape(images * heads, width, height, breadth)
        grid = 2 * at[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1  # grid_sample counts from -1 to 1
        sampled = torch.nn.functional.grid_sample(plane, grid, "bilinear", "zeros", align_corners=False)
        share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
        total = total + (sampled * share).sum(-1)
    return total.reshape(images, heads * width, queries).transpose(1, 2).contiguous().to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    *,
    im2col_step: int,
) -> None:
    """Compute the gradients of `ms_deform_attn_forward` into `grad_value`, `grad_sampling_loc`, `grad_attn_weight`.

    Args:
        value, spatial_shapes, level_start_index, sampling_locations, attention_weights: as in the forward pass.
        grad_output: (B, Q, M D).
        grad_value: (B, S, M, D), overwritten.
        grad_sampling_loc: (B, Q, M, L, P, 2), overwritten.
        grad_attn_weight: (B, Q, M, L, P), overwritten.
        im2col_step: as in the forward pass.
    """
    inputs = [_full_precision(one).detach().requires_grad_() for one in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            inputs[0], spatial_shapes, level_start_index, inputs[1], inputs[2], im2col_step=im2col_step
        )
    grads = torch.autograd.grad(output, inputs, _full_precision(grad_output))
    for target, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        target.copy_(grad)


def _full_precision(tensor: Tensor) -> Tensor:
    """fp16 and bf16 to fp32: torchvision's CPU kernels have no half types, and its CUDA kernels no bf16."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _one_hot(input: Tensor, target: Tensor) -> Tensor:
    """(N, C) bool: column c of row n is the target of n; a background row (target C) is False throughout."""
    return target[:, None] == torch.arange(input.shape[1], device=input.device)[None]


def _class_weight(weight: Tensor, target: Tensor, logits: Tensor) -> Tensor:
    """(N, 1) factor of each row. Background has no class weight: 1 (mmcv's kernel reads past the end there)."""
    if not weight.numel():
        return logits.new_ones(())
    padded = torch.cat([weight.to(logits), logits.new_ones(1)])
    return padded[target.clamp(max=weight.numel())][:, None]
