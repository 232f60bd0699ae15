"""Checks of the installed Python packages (torch, mm*, OpenCV and others), and of other owners of our import names.

A heavy package is imported only after its metadata show that it is installed, so every check works on a login node with
the core alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from c2d.cli.checks import check_result
from c2d.cli.checks.check_result import CheckResult, error_line, installed_version

DISTRIBUTION = "c2d-suite"
IMPORT_NAMES = ("c2d", "sweeps", "analysis", "benchmarks")
TRAIN = "pip install 'c2d-suite[train]'"
FLAVOURS = {
    "continued": ("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection"),
    "upstream": ("mmengine", "mmcv", "mmdet"),
}
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


def check_python() -> CheckResult:
    """Report the interpreter. An older one than 3.11 could not have installed or imported this package."""
    return CheckResult("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def check_torch() -> CheckResult:
    """Find out whether torch is installed and imports, and for which CUDA it is built."""
    version = installed_version("torch")
    if version is None:
        return CheckResult("torch", "warn", "missing; scores and tables work, training does not", TRAIN)
    try:
        torch = check_result.load_module("torch")
    except Exception as error:
        return CheckResult(
            "torch",
            "fail",
            f"{version} does not import ({error_line(error)})",
            f"pip install --force-reinstall torch=={version}",
        )
    return CheckResult(
        "torch", "ok", f"{torch.__version__} ({'CUDA ' + torch.version.cuda if torch.version.cuda else 'CPU only'})"
    )


def check_torchvision() -> CheckResult:
    """Find out whether torchvision fits torch: its operators are missing beside a torch it was not built for."""
    torch, version = installed_version("torch"), installed_version("torchvision")
    if version is None:
        return CheckResult("torchvision", "fail" if torch else "warn", "missing", TRAIN)
    if torch is None:
        return CheckResult("torchvision", "fail", f"{version}; missing: torch", TRAIN)
    try:
        ops, torch_module = check_result.load_module("torchvision.ops"), check_result.load_module("torch")
        ops.nms(torch_module.zeros(1, 4), torch_module.zeros(1), 0.5)
    except Exception as error:
        fix = "pip install --upgrade --force-reinstall torch torchvision  (together, so that they fit)"
        return CheckResult("torchvision", "fail", f"{version} does not fit torch {torch} ({error_line(error)})", fix)
    return CheckResult("torchvision", "ok", f"{version}, fits torch {torch}")


def check_host() -> CheckResult:
    """Find the flavour of mmengine, mmcv and mmdet: continued or upstream. Both own the same import names."""
    have = {name: v for names in FLAVOURS.values() for name in names if (v := installed_version(name)) is not None}
    found = ", ".join(f"{name} {version}" for name, version in have.items())
    continued, upstream = ([name for name in FLAVOURS[flavour] if name in have] for flavour in FLAVOURS)
    packages = " ".join(FLAVOURS["continued"])
    if not have:
        return CheckResult(
            "host", "warn", "missing: mmengine, mmcv, mmdet (not installed); no detector can be trained", TRAIN
        )
    if continued and upstream:
        fix = f"pip uninstall -y {' '.join(have)} && pip install {packages}"
        return CheckResult("host", "fail", f"both flavours, which overwrite each other: {found}", fix)
    flavour = "continued" if continued else "upstream"
    if missing := [name for name in FLAVOURS[flavour] if name not in have]:
        return CheckResult(
            "host", "fail", f"{flavour}: {found}; missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    if flavour == "upstream":
        fix = f"if it breaks: pip uninstall -y {' '.join(have)} && pip install {packages}"
        return CheckResult(
            "host", "warn", f"upstream: {found} (its last release is of 2024, older than current torch)", fix
        )
    return CheckResult("host", "ok", f"continued: {found}")


def check_compiled_ops() -> CheckResult:
    """Import mmdet as a run does, so ok means that detectors can be built."""
    if not any(installed_version(names[1]) for names in FLAVOURS.values()) or installed_version("torch") is None:
        return CheckResult("compiled ops", "ok", "not checked: mmcv or torch is missing")
    try:
        compat = check_result.load_module("c2d.detectors.compat")
        report = compat.prepare()
    except Exception as error:
        return CheckResult(
            "compiled ops", "fail", f"the host does not import ({error_line(error)})", "fix the checks above first"
        )
    if report.ext == "compiled":
        return CheckResult("compiled ops", "ok", "mmcv's own")
    return CheckResult(
        "compiled ops",
        "ok",
        "replacements on torchvision (nms, roi_align, focal loss): all shipped students work",
        f"only for other ops, with a C++ compiler: {compat.install_command()}",
    )


def check_package(
    distribution: str, module: str, severity: Literal["warn", "fail"], otherwise: str = ""
) -> CheckResult:
    """Find out whether a distribution is installed and imports.

    Args:
        distribution: its name on the package index.
        module: the module to import.
        severity: status if it is missing or does not import.
        otherwise: text after the fix: how to work without it.
    """
    version = installed_version(distribution)
    if version is None:
        return CheckResult(distribution, severity, "missing", f"pip install {distribution}{otherwise}")
    try:
        check_result.load_module(module)
    except Exception as error:
        fix = f"pip install --force-reinstall {distribution}{otherwise}"
        return CheckResult(distribution, severity, f"{version} does not import ({error_line(error)})", fix)
    return CheckResult(distribution, "ok", version)


def check_timm() -> CheckResult:
    """Find out whether timm, which is optional, imports if it is installed."""
    if installed_version("timm") is None:
        return CheckResult("timm", "ok", "not installed (optional: classifier teachers named timm:NAME)")
    return check_package("timm", "timm", "warn")


def check_opencv() -> CheckResult:
    """Find out which OpenCV is in cv2/. Four distributions own that folder; each overwrites the files of the others."""
    have = {name: version for name in OPENCV if (version := installed_version(name)) is not None}
    if not have:
        return CheckResult("OpenCV", "fail", "missing", "pip install opencv-python-headless")
    found = ", ".join(f"{name} {version}" for name, version in have.items())
    keep = have.get("opencv-python-headless") or next(iter(have.values()))
    fix = (
        f"pip uninstall -y {' '.join(have)} && pip install --force-reinstall --no-deps opencv-python-headless=={keep}"
        "  (mmcv names opencv-python as well and does not need it)"
    )
    try:
        cv2 = check_result.load_module("cv2")
    except Exception as error:
        return CheckResult("OpenCV", "fail", f"{found}; cv2 does not import ({error_line(error)})", fix)
    if "opencv-python-headless" in have and not _is_complete("opencv-python-headless"):
        others = [name for name in have if name != "opencv-python-headless"]
        by = f" by {', '.join(others)}" if others else ""
        return CheckResult(
            "OpenCV", "warn", f"{found}; files of the headless one are overwritten{by}; cv2 {cv2.__version__}", fix
        )
    if "opencv-python-headless" not in have:
        return CheckResult("OpenCV", "ok", f"{found} (needs a display's libraries; the headless one does not)")
    return CheckResult("OpenCV", "ok", f"{found}; cv2 {cv2.__version__}, headless and complete")


def _is_complete(distribution: str) -> bool:
    """Return whether every file that the distribution recorded exists with the recorded size."""
    # None where the installer wrote no list of files.
    files: Iterable[importlib.metadata.PackagePath] = importlib.metadata.files(distribution) or ()
    for file in files:
        path = Path(str(file.locate()))
        if file.size is not None and (not path.exists() or path.stat().st_size != file.size):
            return False
    return True


def check_import_names() -> CheckResult:
    """Find other distributions that own one of our import names; two of them overwrite each other's files."""
    owners = importlib.metadata.packages_distributions()
    others: dict[str, list[str]] = {}
    for name in IMPORT_NAMES:
        for distribution in owners.get(name, []):
            if not _is_ours(distribution):
                others.setdefault(distribution, []).append(name)
    if not others:
        return CheckResult("import names", "ok", f"{', '.join(IMPORT_NAMES)}: no other distribution owns them")
    found = "; ".join(
        f"{distribution} {installed_version(distribution) or ''}".strip()
        + f" owns {', '.join(dict.fromkeys(names))} too"
        for distribution, names in others.items()
    )
    fix = (
        f"pip uninstall -y {' '.join(others)} && pip install --force-reinstall --no-deps {DISTRIBUTION}, or install "
        f"{DISTRIBUTION} into a separate virtual environment"
    )
    return CheckResult("import names", "warn", found, fix)


def _is_ours(distribution: str) -> bool:
    """Return whether a distribution is this package, or an editable install of it under another name."""
    if re.sub(r"[-_.]+", "-", distribution).lower() == DISTRIBUTION:
        return True
    try:
        origin = json.loads(importlib.metadata.distribution(distribution).read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
    is_editable = bool(origin.get("dir_info", {}).get("editable"))
    return is_editable and origin.get("url") == Path(__file__).resolve().parents[3].as_uri()
