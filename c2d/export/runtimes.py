"""Exported graphs as functions: ONNX Runtime and OpenVINO, on the CPU in fp32."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from c2d.core.errors import InputError, first_line

Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Image (H, W, 3) uint8, red first -> boxes (n, 4) xyxy in its px, scores (n,), labels (n,)."""
ONNX, IR = "model.onnx", "openvino_model.xml"


def open_onnx(path: Path) -> Detect:
    """Open model.onnx.

    Raises:
        InputError: ONNX Runtime refuses the file.
    """
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"ONNX Runtime refuses {path.name}: {first_line(error)}") from error

    def detect(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes, scores, labels = session.run(None, {"image": image})
        return boxes, scores, labels

    return detect


def write_openvino(onnx: Path, path: Path) -> None:
    """Convert model.onnx to OpenVINO's files, openvino_model.xml and openvino_model.bin, in fp32.

    Raises:
        InputError: OpenVINO refuses the graph.
    """
    library = importlib.import_module("openvino")
    try:
        library.save_model(library.convert_model(str(onnx)), str(path), compress_to_fp16=False)
    except Exception as error:
        raise InputError(
            f"OpenVINO refuses this graph: {_reason(error)}; export it with --to onnx, for ONNX Runtime"
        ) from error


def open_openvino(path: Path) -> Detect:
    """Open openvino_model.xml.

    Raises:
        InputError: OpenVINO refuses the file.
    """
    library = importlib.import_module("openvino")
    logging.getLogger("openvino").setLevel(logging.ERROR)
    try:
        # By default it computes in bf16 where the processor can.
        model = library.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except Exception as error:
        raise InputError(
            f"OpenVINO refuses {path.name}: {_reason(error)}; export it with --to onnx, for ONNX Runtime"
        ) from error

    def detect(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        try:
            found = model([image])
        except Exception as error:
            raise InputError(
                f"OpenVINO cannot run this graph: {_reason(error)}; export it with --to onnx, for ONNX Runtime"
            ) from error
        boxes, scores, labels = (found[output] for output in model.outputs)
        return boxes, scores, labels

    return detect


def _reason(error: Exception) -> str:
    """The last line of OpenVINO's message; those before are places in its sources."""
    return next((line.strip("- ") for line in reversed(str(error).splitlines()) if line.strip()), "no reason")[:200]


OPEN: dict[str, Callable[[Path], Detect]] = {ONNX: open_onnx, IR: open_openvino}
"""File: what opens it."""
