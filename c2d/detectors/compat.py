"""The gaps of the host (mmengine, mmcv, mmdet), closed and explained. Self-contained: imports nothing else of c2d.

Call `prepare()` before the first import of `mmcv.ops` or `mmdet`. Whoever received only a `student.pth`, its config and
this file can load and run it. Three gaps are closed, and each one only while the host has it:

1. **Compiled ops.** `pip install` of mmcv usually builds it without its extension `mmcv._ext`, and importing mmdet's
   models then fails. A finder at the *end* of the import path supplies a module of that name if nothing else does:
   `nms` and `roi_align` (avg) on torchvision's kernels, `sigmoid_focal_loss` by formula, CPU and CUDA, fp32, fp64, fp16
   and bf16. Every other op exists by name and raises `MissingOp` when called. A compiled mmcv is used untouched.
2. **SSD cannot predict.** See `_repair_ssd`.
3. **Chatter.** Importing mmdet's continuation says three times that an optional package is absent. Those lines are
   dropped by their text; everything else that the import prints, and every other warning, stays.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

EXTENSION = "mmcv._ext"
# What importing mmdet says about optional packages that we do not use: printed, and warned about.
CHATTER = ("Could not import OneDL. Skipping OneDL datasets.",)
CHATTER_WARNINGS = ("faster_coco_eval is not installed",)
# Distribution names of the two flavours: OpenMMLab's originals, and their maintained continuation (same import names).
FLAVOURS: dict[str, tuple[str, str, str]] = {
    "continued": ("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection"),
    "upstream": ("mmengine", "mmcv", "mmdet"),
}


class HostError(ImportError):
    """The host (mmengine, mmcv, mmdet) is absent or broken; the message says what to install."""

    exit_code = 2


class MissingOp(NotImplementedError):
    """An op of mmcv was called that only a compiled mmcv has."""

    exit_code = 2


@dataclass(frozen=True)
class Report:
    """What `prepare()` found and did.

    ext: "compiled" if mmcv has its own ops, "stand-in" if ours serve. ssd_repair: whether SSDHead had to be repaired.
    flavour: "upstream" or "continued". versions: distribution name -> version.
    """

    ext: Literal["compiled", "stand-in"]
    ssd_repair: bool
    flavour: str
    versions: dict[str, str] = field(default_factory=dict)


_report: Report | None = None


def prepare() -> Report:
    """Close the gaps of the host and import it, quietly; the second call returns the first one's report.

    Afterwards everything of mmdet is registered; no default scope is set. Raises HostError when mmcv or mmdet is
    missing, or when compiled ops are there but cannot be loaded.
    """
    global _report
    if _report is None:
        flavour, versions = installed()
        with _same_random_numbers(), quiet_import():
            ext = _supply_extension()
            register = _import("mmdet.utils").register_all_modules
            register(init_default_scope=False)
            repaired = _repair_ssd()
        _report = Report(ext, repaired, flavour, versions)
    return _report


def installed() -> tuple[str, dict[str, str]]:
    """Flavour and versions of the installed host, from the distributions' metadata (imports nothing)."""
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
    """Drop CHATTER and CHATTER_WARNINGS of an import; all else it prints comes at its end, other warnings at once."""
    caught = io.StringIO()
    try:
        with contextlib.redirect_stdout(caught), warnings.catch_warnings():
            for text in CHATTER_WARNINGS:
                warnings.filterwarnings("ignore", message=re.escape(text))
            yield
    finally:
        rest = [line for line in caught.getvalue().splitlines(keepends=True) if line.strip() not in CHATTER]
        sys.stdout.write("".join(rest))


@contextlib.contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Importing the host draws numbers, and so does asking SSDHead; a caller who has seeded must not notice."""
    python, array = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)


# ------------------------------------------------------------------------------------------------ 1. compiled ops


def _supply_extension() -> Literal["compiled", "stand-in"]:
    """Make `mmcv._ext` importable and say whose it is."""
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
    return "stand-in" if "stand_in" in vars(module) else "compiled"


def install_command() -> str:
    """The command that installs mmcv with compiled ops over the one that is there (a C++ compiler, 15 minutes).

    mmcv's set-up builds its ops only where it can import torch, which pip's isolated builds forbid; and pip's cache
    would hand back the wheel without ops.
    """
    name = FLAVOURS[installed()[0]][1]
    return f"pip install --no-build-isolation --no-deps --no-cache-dir --force-reinstall --no-binary {name} {name}"


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last on the import path, so it is asked for `mmcv._ext` only if nothing else has it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != EXTENSION:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin="c2d.detectors.compat")

    def exec_module(self, module: ModuleType) -> None:
        names: dict[str, Any] = {
            "stand_in": True,
            "nms": nms,
            "roi_align_forward": roi_align_forward,
            "roi_align_backward": roi_align_backward,
            "sigmoid_focal_loss_forward": sigmoid_focal_loss_forward,
            "sigmoid_focal_loss_backward": sigmoid_focal_loss_backward,
            "get_compiler_version": lambda: "none (stand-in on torchvision)",
            "get_compiling_cuda_version": lambda: "none (stand-in on torchvision)",
            "__getattr__": _missing,
        }
        vars(module).update(names)


def _missing(name: str) -> Callable[..., Any]:
    """PEP 562: mmcv asserts at import that its ops exist, so each one does, and raises when it is called."""
    if name.startswith("__"):  # inspect and pickle ask every module for __file__, __path__, ...
        raise AttributeError(name)

    def op(*_args: Any, **_kwargs: Any) -> Any:
        raise MissingOp(
            f"op '{name}' of mmcv needs compiled ops, this mmcv has none; a compiler and: {install_command()}"
        )

    op.__name__ = op.__qualname__ = name
    return op


def _wide(tensor: Tensor) -> Tensor:
    """fp16 and bf16 to fp32: torchvision's CPU kernels have no half types, and its CUDA kernels no bf16."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy suppression. bboxes (N, 4) xyxy, scores (N,) -> (K,) indices kept, best first.

    offset 1 is the old convention that a box includes its last pixel: width = x2 - x1 + 1. Among equal scores the lower
    index comes first, on every machine (mmcv's own sort leaves that open). mmcv compares overlaps with the threshold in
    single precision, so the threshold is rounded: an overlap of exactly 0.3 is kept at a threshold of 0.3.
    """
    import torchvision.ops

    boxes, values = _wide(bboxes), _wide(scores)
    if offset:
        # widening every box by one pixel to the right and below gives exactly the areas and overlaps of offset 1
        boxes = boxes + boxes.new_tensor([0.0, 0.0, offset, offset])
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
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill output (K, C, h, w) from input (N, C, H, W) and rois (K, 5) = image index, xyxy in input / spatial_scale."""
    _only_average(pool_mode, "roi_align_forward")
    import torchvision  # noqa: F401  (registers torch.ops.torchvision)

    wide = _wide(input)
    args = (spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned)
    output.copy_(torch.ops.torchvision.roi_align(wide, rois.to(wide.dtype), *args))


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
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill grad_input (N, C, H, W) from grad_output (K, C, h, w)."""
    _only_average(pool_mode, "roi_align_backward")
    import torchvision  # noqa: F401  (registers torch.ops.torchvision)

    wide = _wide(grad_output)  # under autocast grad and rois differ in type; the kernel wants one type
    size = (spatial_scale, aligned_height, aligned_width, *grad_input.shape)
    grad = torch.ops.torchvision._roi_align_backward(wide, rois.to(wide.dtype), *size, sampling_ratio, aligned)
    grad_input.copy_(grad)


def _only_average(pool_mode: int, name: str) -> None:
    if pool_mode != 1:
        raise MissingOp(
            f"op '{name}' of mmcv with pool_mode='max' needs compiled ops, this mmcv has none; "
            f"use pool_mode='avg', or a compiler and: {install_command()}"
        )


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill output (N, C) with the focal loss of logits input (N, C); target (N,) in [0, C], C is background.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5, per class: -a (1-p)^g log p where the class
    is the target, -(1-a) p^g log(1-p) elsewhere. weight is empty or (C,), one factor per target class.
    """
    logits, hit = _wide(input), _one_hot(input, target)
    prob = logits.sigmoid()
    positive = -alpha * (1 - prob) ** gamma * torch.nn.functional.logsigmoid(logits)
    negative = -(1 - alpha) * prob**gamma * torch.nn.functional.logsigmoid(-logits)
    output.copy_(torch.where(hit, positive, negative) * _class_weight(weight, target, logits))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill grad_input (N, C) with the derivative of `sigmoid_focal_loss_forward` by its logits."""
    logits, hit = _wide(input), _one_hot(input, target)
    prob = logits.sigmoid()
    log_p, log_q = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    positive = -alpha * (1 - prob) ** gamma * (1 - prob - gamma * prob * log_p)
    negative = -(1 - alpha) * prob**gamma * (gamma * (1 - prob) * log_q - prob)
    grad_input.copy_(torch.where(hit, positive, negative) * _class_weight(weight, target, logits))


def _one_hot(input: Tensor, target: Tensor) -> Tensor:
    """(N, C) bool: column c of row n is the target of n; a background row (target C) is False throughout."""
    return target[:, None] == torch.arange(input.shape[1], device=input.device)[None]


def _class_weight(weight: Tensor, target: Tensor, logits: Tensor) -> Tensor:
    """(N, 1) factor of each row. Background has no class weight: 1 (mmcv's kernel reads past the end there)."""
    if not weight.numel():
        return logits.new_ones(())
    padded = torch.cat([weight.to(logits), logits.new_ones(1)])
    return padded[target.clamp(max=weight.numel())][:, None]


# --------------------------------------------------------------------------------------------------------- 2. SSD


def _repair_ssd() -> bool:
    """Answer SSDHead's missing attribute `loss_cls` with None; True if the host needed it.

    mmdet 3.2 taught `BaseDenseHead._predict_by_feat_single` to ask `self.loss_cls` for `custom_cls_channels` (used by
    V3Det's losses only). SSDHead computes its losses itself and skips AnchorHead's constructor, so it never has a
    `loss_cls` and every prediction fails with "'SSDHead' object has no attribute 'loss_cls'" (mmdetection issues
    #11063, #11305, #11780, open). None has no custom channels, which is the answer SSD needs. It is given where the
    lookup has failed: a head that has a `loss_cls` keeps it, and no checkpoint gains a key.
    """
    from mmdet.models.dense_heads import SSDHead

    anchors = {"type": "AnchorGenerator", "strides": [8], "ratios": [1.0], "scales": [1.0]}
    if hasattr(SSDHead(num_classes=1, in_channels=(1,), anchor_generator=anchors), "loss_cls"):
        return False
    ask = SSDHead.__getattr__  # torch.nn.Module's, called only after the ordinary lookup failed

    def __getattr__(self: Any, name: str) -> Any:
        if name == "loss_cls" and name not in self.__dict__.get("_modules", ()):
            return None
        return ask(self, name)

    SSDHead.__getattr__ = __getattr__
    return True
