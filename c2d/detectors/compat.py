"""Prepare the host (mmengine, mmcv, mmdet) for use. With `fallback_ops.py` beside it, it needs nothing else of c2d.

Call `prepare()` before the first import of `mmcv.ops` or `mmdet`. A process that has only a `student.pth`, its config
and these two files can load and run the student. Three gaps are closed, and each one only while the host has it:

1. **Compiled ops.** `pip install` of mmcv usually builds it without its extension `mmcv._ext`, and importing mmdet's
   models then fails. A finder at the *end* of the import path supplies a module of that name if nothing else does:
   the ops of `fallback_ops.py`. Every other op exists by name and raises `MissingOp` when called. A compiled mmcv is
   used unchanged.
2. **SSD cannot predict.** See `_repair_ssd`.
3. **Messages at import.** Importing mmdet's continuation prints three times that an optional package is absent. Those
   lines are dropped by their text; everything else that the import prints, and every other warning, stays.
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
    """The host (mmengine, mmcv, mmdet) is absent or broken; the message says what to install."""

    exit_code = 2


class MissingOp(NotImplementedError):
    """An op of mmcv was called that only a compiled mmcv has."""

    exit_code = 2


@dataclass(frozen=True)
class HostReport:
    """What `prepare()` found and changed.

    Attributes:
        ext: "compiled" if mmcv has its own ops, "stand-in" if it got those of `fallback_ops.py`.
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
        with _same_random_numbers(), quiet_import():
            ext = _supply_extension()
            register = _import("mmdet.utils").register_all_modules
            register(init_default_scope=False)
            repaired = _repair_ssd()
        _report = HostReport(ext, repaired, flavour, versions)
    return _report


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
        # By the name beside this one, so that a copy of both files works outside the package as well.
        ops = importlib.import_module(f"{__name__.removesuffix('compat')}fallback_ops")
        vars(module).update(
            fallback=True,
            nms=ops.nms,
            roi_align_forward=_average_only(ops.roi_align_forward),
            roi_align_backward=_average_only(ops.roi_align_backward),
            sigmoid_focal_loss_forward=ops.sigmoid_focal_loss_forward,
            sigmoid_focal_loss_backward=ops.sigmoid_focal_loss_backward,
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
