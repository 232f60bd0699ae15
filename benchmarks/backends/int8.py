"""int8 on the CPU: convolutions of the exported network with weights and activations of 8 bits, by ONNX Runtime.

Post-training static quantisation. The range of every activation comes from `IMAGES` validation images, so the AP of the
row is slightly optimistic, and its note reports that. Weights have a scale per output channel.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.backends.base import BackendContext, PreparedBackend, Unavailable
from benchmarks.backends.network import Batch
from benchmarks.backends.onnx import open_session
from benchmarks.backends.onnx_export import EXTRA, INPUT, exporter_of, onnx_file, sha256
from benchmarks.backends.packages import require_package
from c2d.core.errors import InputError, first_line

IMAGES = 32
"""Validation images for calibration."""


def prepare(context: BackendContext) -> PreparedBackend:
    """Export and quantise the network, once per workspace.

    Raises:
        Unavailable: on a GPU, without ONNX Runtime, without images, or where the network cannot be exported.
    """
    if context.device.type != "cpu":
        raise Unavailable(f"int8 is timed on the CPU, this student is on {context.device}; measure with --device cpu")
    require_package("onnxruntime", EXTRA)
    exported = onnx_file(context)
    path = exported.with_name(f"{exported.stem}-int8.onnx")
    if not path.exists():
        _quantise(context, exported, path)
    call = open_session(path, context.device)
    note = f"NMS is not in it; convolutions in int8, ranges of {IMAGES} validation images; exported by"
    return PreparedBackend(call, sha256(path), lambda: f"{note} {exporter_of(exported)}")


def _quantise(context: BackendContext, exported: Path, path: Path) -> None:
    library = require_package("onnxruntime.quantization", EXTRA)
    shape_inference = require_package("onnxruntime.quantization.shape_inference", EXTRA)
    folded, draft = path.with_suffix(".folded"), path.with_suffix(".part")
    try:
        with _quiet_root_logger():
            # ONNX Runtime recommends symbolic shape inference for transformers only.
            shape_inference.quant_pre_process(str(exported), str(folded), skip_symbolic_shape=True)
            library.quantize_static(
                str(folded),
                str(draft),
                _CalibrationReader(context.example_batches(IMAGES)),
                # Signed 8 bits for both in QDQ format is ONNX Runtime's own first choice on a CPU.
                quant_format=library.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=library.QuantType.QInt8,
                weight_type=library.QuantType.QInt8,
            )
        # Renamed when complete, so that an interrupted run leaves no half-written file under the final name.
        draft.replace(path)
    except InputError as error:
        raise Unavailable(f"int8 needs images to calibrate on: {first_line(error)}") from error
    except Exception as error:
        raise Unavailable(f"ONNX Runtime cannot quantise {exported.name}: {first_line(error)}") from error
    finally:
        for leftover in (folded, draft):
            leftover.unlink(missing_ok=True)


class _CalibrationReader:
    """ONNX Runtime's interface CalibrationDataReader: one image (1, 3, H, W) after the other, then None."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.inputs.numpy()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.get_next, None)

    def __next__(self) -> dict[str, Any]:
        if (inputs := self.get_next()) is None:
            raise StopIteration
        return inputs


@contextlib.contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Hide the quantiser's warnings: one through the root logger for every constant that it does not quantise."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
