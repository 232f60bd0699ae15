"""The questions that `c2d doctor` asks of a machine. Each is a function that looks, and returns what it found.

Nothing heavy is imported before it is known to be installed: on a login node with the core only, every check still
answers. A check that itself breaks is reported as failed with the error; it never takes the others with it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

TRAIN = "pip install 'c2d-suite[train]'"
FLAVOURS = {
    "continued": ("onedl-mmengine", "onedl-mmcv", "onedl-mmdetection"),
    "upstream": ("mmengine", "mmcv", "mmdet"),
}
SLURM = ("sbatch", "squeue", "sacct", "scontrol")
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
LOW_GIB, EMPTY_GIB = 10.0, 1.0  # a run of the demo writes about 0.1 GiB, one of the paper's about 2


@dataclass(frozen=True)
class Check:
    """One line of the answer. status: ok, warn (works with a restriction) or fail. fix: what to do, "" if nothing."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    fix: str = ""


def version_of(distribution: str) -> str | None:
    """Installed version of a distribution, from its metadata, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def load(module: str) -> ModuleType:
    """Import a module; a seam for tests."""
    return importlib.import_module(module)


def collect(folder: Path | None = None) -> list[Check]:
    """All checks, in the order in which one would repair things; disk space is that of `folder` (default: here)."""
    here = folder or Path.cwd()
    questions: list[tuple[str, Callable[[], Check]]] = [
        ("python", python),
        ("torch", torch_itself),
        ("torchvision", torchvision_pair),
        ("host", host),
        ("compiled ops", compiled_ops),
        ("GPU", gpu),
        ("numpy", lambda: package("numpy", "numpy", "fail")),
        ("OpenCV", opencv),
        ("pycocotools", lambda: package("pycocotools", "pycocotools.mask", "fail")),
        ("hotcoco", lambda: package("hotcoco", "hotcoco", "warn", "; until then: --engine reference")),
        ("timm", timm),
        ("SLURM", slurm),
        ("disk", lambda: disk("disk", here)),
    ]
    if (here / "runs").is_dir():
        questions.append(("disk of runs/", lambda: disk("disk of runs/", here / "runs")))
    return [_guarded(name, question) for name, question in questions]


def _guarded(name: str, question: Callable[[], Check]) -> Check:
    try:
        return question()
    except Exception as error:
        return Check(
            name, "fail", f"the check broke: {_line(error)}", "report this with the output of c2d doctor --json"
        )


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def python() -> Check:
    """An older one than 3.11 could not have installed or imported this."""
    return Check("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def torch_itself() -> Check:
    version = version_of("torch")
    if version is None:
        return Check("torch", "warn", "not installed; scores and tables work, training does not", TRAIN)
    try:
        torch = load("torch")
    except Exception as error:
        return Check(
            "torch",
            "fail",
            f"{version} does not import ({_line(error)})",
            f"pip install --force-reinstall torch=={version}",
        )
    return Check(
        "torch", "ok", f"{torch.__version__} ({'CUDA ' + torch.version.cuda if torch.version.cuda else 'CPU only'})"
    )


def torchvision_pair() -> Check:
    """torchvision's wheel is built against one torch; beside another its operators are missing."""
    torch, version = version_of("torch"), version_of("torchvision")
    if version is None:
        return Check("torchvision", "fail" if torch else "warn", "not installed", TRAIN)
    if torch is None:
        return Check("torchvision", "fail", f"{version} without torch", TRAIN)
    try:
        ops, torch_module = load("torchvision.ops"), load("torch")
        ops.nms(torch_module.zeros(1, 4), torch_module.zeros(1), 0.5)
    except Exception as error:
        fix = "pip install --upgrade --force-reinstall torch torchvision  (together, so that they fit)"
        return Check("torchvision", "fail", f"{version} does not fit torch {torch} ({_line(error)})", fix)
    return Check("torchvision", "ok", f"{version}, fits torch {torch}")


def host() -> Check:
    """mmengine, mmcv and mmdet: one flavour of the three, not a mixture (both own the same import names)."""
    have = {name: v for names in FLAVOURS.values() for name in names if (v := version_of(name)) is not None}
    found = ", ".join(f"{name} {version}" for name, version in have.items())
    continued, upstream = ([name for name in FLAVOURS[flavour] if name in have] for flavour in FLAVOURS)
    packages = " ".join(FLAVOURS["continued"])
    if not have:
        return Check("host", "warn", "mmengine, mmcv and mmdet are not installed; no detector can be trained", TRAIN)
    if continued and upstream:
        fix = f"pip uninstall -y {' '.join(have)} && pip install {packages}"
        return Check("host", "fail", f"both flavours, which overwrite each other: {found}", fix)
    flavour = "continued" if continued else "upstream"
    if missing := [name for name in FLAVOURS[flavour] if name not in have]:
        return Check(
            "host", "fail", f"{flavour}: {found}, without {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    if flavour == "upstream":
        fix = f"if it breaks: pip uninstall -y {' '.join(have)} && pip install {packages}"
        return Check("host", "warn", f"upstream: {found} (its last release is of 2024, older than current torch)", fix)
    return Check("host", "ok", f"continued: {found}")


def compiled_ops() -> Check:
    """Imports the host as a run would, so an ok here means that detectors can be built."""
    if not any(version_of(names[1]) for names in FLAVOURS.values()) or version_of("torch") is None:
        return Check("compiled ops", "ok", "not asked: no mmcv or no torch")
    try:
        compat = load("c2d.detectors.compat")
        report = compat.prepare()
    except Exception as error:
        return Check(
            "compiled ops", "fail", f"the host does not import ({_line(error)})", "mend the checks above first"
        )
    if report.ext == "compiled":
        return Check("compiled ops", "ok", "mmcv's own")
    return Check(
        "compiled ops",
        "ok",
        "stand-ins on torchvision (nms, roi_align, focal loss): all shipped students work",
        f"only for other ops, with a C++ compiler: {compat.install_command()}",
    )


def gpu() -> Check:
    driver = _driver()
    if version_of("torch") is None:
        return Check("GPU", "ok", f"not asked: no torch{f'; driver {driver}' if driver else ''}")
    torch = load("torch")
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = ", ".join(f"{card.name} ({card.total_memory / 2**30:.0f} GiB)" for card in cards)
        return Check("GPU", "ok", f"{names}; driver {driver or 'unknown'}")
    if driver:
        why = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch is CPU only"
        fix = "install a torch that fits the driver, or a newer driver; CUDA_VISIBLE_DEVICES must not be empty"
        return Check("GPU", "warn", f"driver {driver}, but torch sees no GPU ({why})", fix)
    return Check("GPU", "ok", "none; everything runs on the CPU")


def _driver() -> str:
    """Version of NVIDIA's driver, or "" where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.split()[0]
    return ""


def package(distribution: str, module: str, severity: Literal["warn", "fail"], otherwise: str = "") -> Check:
    """A distribution that is installed and imports."""
    version = version_of(distribution)
    if version is None:
        return Check(distribution, severity, "not installed", f"pip install {distribution}{otherwise}")
    try:
        load(module)
    except Exception as error:
        fix = f"pip install --force-reinstall {distribution}{otherwise}"
        return Check(distribution, severity, f"{version} does not import ({_line(error)})", fix)
    return Check(distribution, "ok", version)


def timm() -> Check:
    if version_of("timm") is None:
        return Check("timm", "ok", "not installed (optional: classifier teachers named timm:NAME)")
    return package("timm", "timm", "warn")


def opencv() -> Check:
    """Four distributions own the same folder cv2/; whichever came last has overwritten files of the others."""
    have = {name: version for name in OPENCV if (version := version_of(name)) is not None}
    if not have:
        return Check("OpenCV", "fail", "not installed", "pip install opencv-python-headless")
    found = ", ".join(f"{name} {version}" for name, version in have.items())
    keep = have.get("opencv-python-headless") or next(iter(have.values()))
    fix = (
        f"pip uninstall -y {' '.join(have)} && pip install --force-reinstall --no-deps opencv-python-headless=={keep}"
        "  (mmcv names opencv-python as well and does not need it)"
    )
    try:
        cv2 = load("cv2")
    except Exception as error:
        return Check("OpenCV", "fail", f"{found}; cv2 does not import ({_line(error)})", fix)
    if "opencv-python-headless" in have and not _whole("opencv-python-headless"):
        others = [name for name in have if name != "opencv-python-headless"]
        by = f" by {', '.join(others)}" if others else ""
        return Check(
            "OpenCV", "warn", f"{found}; files of the headless one are overwritten{by}; cv2 {cv2.__version__}", fix
        )
    if "opencv-python-headless" not in have:
        return Check("OpenCV", "ok", f"{found} (needs a display's libraries; the headless one does not)")
    return Check("OpenCV", "ok", f"{found}; cv2 {cv2.__version__}, headless and whole")


def _whole(distribution: str) -> bool:
    """Whether every file that the distribution recorded is there with the recorded size."""
    files: Iterable[importlib.metadata.PackagePath] = importlib.metadata.files(distribution) or ()
    for file in files:
        path = Path(str(file.locate()))
        if file.size is not None and (not path.exists() or path.stat().st_size != file.size):
            return False
    return True


def slurm() -> Check:
    have = [tool for tool in SLURM if shutil.which(tool)]
    missing = [tool for tool in SLURM if tool not in have]
    if not have:
        return Check("SLURM", "ok", "none on this machine; runs are started here")
    if missing:
        fix = "load the cluster's module or add its folder to PATH; sweeps need all four tools"
        return Check("SLURM", "warn", f"{', '.join(have)} but not {', '.join(missing)}", fix)
    tools = f"{', '.join(have)} at {Path(str(shutil.which('sbatch'))).parent}"
    version = _ask("sbatch", "--version").removeprefix("slurm ").strip()
    if not (partitions := _ask("sinfo", "--noheader", "--format=%R")):
        fix = "`scontrol ping` says whether the controller is up; SLURM_CONF, if set, has to name this cluster's file"
        return Check("SLURM", "warn", f"{version or 'SLURM'}: the controller does not answer; {tools}", fix)
    names = ", ".join(dict.fromkeys(partitions.split()))
    accounting = bool(_ask("sacct", "--noheader", "--allusers", "--starttime=now", "--format=JobID", empty="yes"))
    found = f"{version or 'version unknown'}, partitions {names}, {'' if accounting else 'no '}accounting; {tools}"
    if not accounting:
        fix = "sweeps work without it; the reasons of deaths are then read from logs alone"
        return Check("SLURM", "warn", found, fix)
    return Check("SLURM", "ok", found)


def _ask(*command: str, empty: str = "") -> str:
    """What a tool says, "" where it fails or is silent for 20 s, `empty` where it succeeds without a word."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0:
            return done.stdout.strip() or empty
    return ""


def disk(name: str, folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.1f} GiB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Check(name, "fail", f"{folder} is not writable", "work in a folder of your own, or name one with --runs")
    if free < EMPTY_GIB:
        return Check(name, "fail", found, "free some space: checkpoints of a run need up to 2 GiB")
    if free < LOW_GIB:
        return Check(name, "warn", found, "enough for the demo; a sweep keeps two checkpoints a run, up to 2 GiB")
    return Check(name, "ok", found)
