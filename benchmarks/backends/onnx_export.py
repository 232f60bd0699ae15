"""One ONNX file of a student's network, by torch.onnx: what ONNX Runtime, OpenVINO and TensorRT read.

The network of a single-stage detector is exported without NMS, which stays with mmdet (`Network.post`). Two-stage
detectors hold NMS and RoIAlign inside, and what mmdet 3 does for them during an export imports `mmdet.core`, which it
no longer has. The batch size, height and width are left open.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.backends import Unavailable
from benchmarks.backends.packages import need
from c2d.core.errors import first_line

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject

INPUT = "images"
EXTRA = "'c2d-suite[export]'"
"""What pip installs for this."""


def onnx_file(subject: Subject) -> Path:
    """The exported network, in the subject's workspace; it is made at the first call.

    Its name holds a digest of weights, model and exporter: another checkpoint never finds it.

    Raises:
        Unavailable: onnx is not installed, or the network cannot be exported.
    """
    if subject.network.nms != "out":
        raise Unavailable(
            f"not exported: NMS is inside the network of a {type(subject.detector).__name__}, and mmdet 3 cannot export"
            " it (its code for that imports mmdet.core, which is gone); single-stage detectors can be exported"
        )
    need("onnx", EXTRA)
    path = subject.workspace / f"network-{_digest(subject)}.onnx"
    if not path.exists():
        subject.workspace.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        _export(subject, draft)
        draft.replace(path)
    return path


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def exporter(path: Path) -> str:
    """Which of torch's exporters wrote a file: "torch.export" or "TorchScript"."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return {prop.key: prop.value for prop in model.metadata_props}.get("c2d_exporter", "torch.export")


def _export(subject: Subject, path: Path) -> None:
    """torch's own exporter, and where it fails the older one that traces."""
    network = copy.deepcopy(subject.network).cpu().eval()
    height, width = (max(32, -(-side // 32) * 32) for side in subject.size)
    images = torch.rand(2, 3, height, width)  # 2: a batch of 1 would be taken for a constant
    free = torch.export.Dim.DYNAMIC
    ways: dict[str, dict[str, Any]] = {
        "torch.export": {"dynamo": True, "external_data": False, "dynamic_shapes": ({0: free, 2: free, 3: free},)},
        "TorchScript": {"dynamo": False, "dynamic_axes": {INPUT: {0: "batch", 2: "height", 3: "width"}}},
    }
    why = []
    for name, options in ways.items():
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
                warnings.simplefilter("ignore")
                torch.onnx.export(network, (images,), str(path), input_names=[INPUT], verbose=False, **options)
            _sign(path, name)
            return
        except Exception as error:  # either exporter fails in many ways
            why.append(f"{name}: {first_line(error)}")
    path.unlink(missing_ok=True)
    raise Unavailable(f"torch.onnx cannot export this network ({'; '.join(why)})")


def _sign(path: Path, name: str) -> None:
    import onnx

    model = onnx.load(str(path))
    entry = model.metadata_props.add()
    entry.key, entry.value = "c2d_exporter", name
    onnx.save(model, str(path))


def _digest(subject: Subject) -> str:
    """12 hex digits of what the file depends on."""
    digest = hashlib.sha256(f"{torch.__version__} {subject.size} {subject.config['model']}".encode())
    for key, value in sorted(subject.network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
