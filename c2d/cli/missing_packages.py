"""The error of a command whose packages are not installed: which extra of c2d-suite has them."""

from __future__ import annotations

from c2d.core.errors import InputError

EXTRA_OF = {
    "jinja2": "analysis", "matplotlib": "analysis", "mmcv": "train", "mmdet": "train", "mmengine": "train",
    "msgspec": "analysis", "fontTools": "analysis", "onnx": "export", "onnxruntime": "export", "onnxscript": "export",
    "open_clip": "text", "openvino": "openvino", "pandas": "analysis", "safetensors": "train", "scipy": "analysis",
    "tidecv": "analysis", "timm": "weights", "torch": "train", "torchvision": "train",
}  # fmt: skip
"""{package as it is imported: extra of pyproject.toml that installs it}."""
BASE = (
    "cv2",
    "defusedxml",
    "filelock",
    "hotcoco",
    "numpy",
    "PIL",
    "pycocotools",
    "pydantic",
    "rich",
    "submitit",
    "yaml",
)
"""Packages that every installation has, as they are imported."""


def as_missing_package(error: Exception) -> Exception:
    """Return an InputError with the command that installs the missing package; any other error as it is."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return error
    package = error.name.partition(".")[0]
    if package not in EXTRA_OF and package not in BASE:
        return error
    source = f"'c2d-suite[{EXTRA_OF[package]}]'" if package in EXTRA_OF else "c2d-suite"
    return InputError(f"this needs {package}, which is not installed here; pip install {source}")
