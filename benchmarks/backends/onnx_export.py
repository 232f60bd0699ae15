"""Export a student's network to one ONNX file, which ONNX Runtime, OpenVINO and TensorRT read.

A single-stage detector is exported without NMS, which stays with mmdet (`Network.post_process`). Two-stage detectors
hold NMS and RoIAlign, and mmdet 3 cannot export them: its code for that imports `mmdet.core`, which no longer exists.
Batch size, height and width are dynamic.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.backends.base import BackendContext, Unavailable
from benchmarks.backends.packages import require_package
from c2d.core.errors import first_line

INPUT = "images"
EXTRA = "'c2d-suite[export]'"
"""The argument of `pip install` that brings onnx and ONNX Runtime."""


def onnx_file(context: BackendContext) -> Path:
    """Export the network into the workspace unless the file exists; return its path.

    The name holds a digest of weights, model and exporter, so another checkpoint never uses the file.

    Raises:
        Unavailable: onnx is not installed, or the network cannot be exported.
    """
    if context.network.nms != "out":
        detector = type(context.network.detector).__name__
        raise Unavailable(
            f"not exported: NMS is inside the network of a {detector}, and mmdet 3 cannot export it (its code for that "
            "imports mmdet.core, which is missing); single-stage detectors can be exported"
        )
    require_package("onnx", EXTRA)
    path = context.workspace / f"network-{_digest(context)}.onnx"
    if not path.exists():
        context.workspace.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        _export(context, draft)
        # Renamed when complete, so that an interrupted export leaves no half-written file under the final name.
        draft.replace(path)
    return path


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def exporter_of(path: Path) -> str:
    """Return which of torch's exporters wrote a file: "torch.export" or "TorchScript"."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return {prop.key: prop.value for prop in model.metadata_props}.get("c2d_exporter", "torch.export")


def _export(context: BackendContext, path: Path) -> None:
    """Export with torch.export, and where that fails with the older exporter, which traces."""
    network = copy.deepcopy(context.network).cpu().eval()
    height, width = (max(32, -(-side // 32) * 32) for side in context.size)
    images = torch.rand(2, 3, height, width)  # 2: a batch of 1 would be taken for a constant
    dynamic = torch.export.Dim.DYNAMIC
    exporters: dict[str, dict[str, Any]] = {
        "torch.export": {
            "dynamo": True,
            "external_data": False,
            "dynamic_shapes": ({0: dynamic, 2: dynamic, 3: dynamic},),
        },
        "TorchScript": {"dynamo": False, "dynamic_axes": {INPUT: {0: "batch", 2: "height", 3: "width"}}},
    }
    failures = []
    for name, options in exporters.items():
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
                warnings.simplefilter("ignore")
                torch.onnx.export(network, (images,), str(path), input_names=[INPUT], verbose=False, **options)
            _write_exporter_name(path, name)
            return
        except Exception as error:  # either exporter fails in many ways
            failures.append(f"{name}: {first_line(error)}")
    path.unlink(missing_ok=True)
    raise Unavailable(f"torch.onnx cannot export this network ({'; '.join(failures)})")


def _write_exporter_name(path: Path, name: str) -> None:
    import onnx

    model = onnx.load(str(path))
    entry = model.metadata_props.add()
    entry.key, entry.value = "c2d_exporter", name
    onnx.save(model, str(path))


def _digest(context: BackendContext) -> str:
    """Return 12 hex digits of what the file depends on."""
    # The exporter is part of torch, so its version is that of torch.
    digest = hashlib.sha256(f"{torch.__version__} {context.size} {context.model_config}".encode())
    for key, value in sorted(context.network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
