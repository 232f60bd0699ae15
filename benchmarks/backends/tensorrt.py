"""TensorRT: the exported network as an engine for this GPU, with dynamic batch, height and width within bounds.

The engine is stored in the workspace: building takes minutes, and all launches time the same bytes. It is tuned for one
image of the student's size; fp32 may use TF32 exactly where torch's convolutions may.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.backends.base import BackendContext, PreparedBackend, Unavailable
from benchmarks.backends.network import Call
from benchmarks.backends.onnx_export import INPUT, exporter_of, onnx_file, sha256
from benchmarks.backends.packages import require_package

MAX_BATCH = 32
"""Images."""
INSTALL = "tensorrt"


def prepare_fp32(context: BackendContext) -> PreparedBackend:
    """Prepare single precision."""
    return _prepare(context, half=False)


def prepare_fp16(context: BackendContext) -> PreparedBackend:
    """Prepare half precision."""
    return _prepare(context, half=True)


def _prepare(context: BackendContext, half: bool) -> PreparedBackend:
    """Raises Unavailable: no GPU, TensorRT is not installed or cannot build, or the network cannot be exported."""
    library = require_package("tensorrt", INSTALL)
    if context.device.type != "cuda":
        raise Unavailable(f"TensorRT needs a GPU, this student is on {context.device}; measure with --device cuda")
    exported = onnx_file(context)
    gpu = "".join(letter if letter.isalnum() else "-" for letter in torch.cuda.get_device_name(context.device))
    # An engine runs only on the kind of GPU and the version of TensorRT that built it.
    name = f"{exported.stem}-{gpu}-{library.__version__}-{'fp16' if half else 'fp32'}.engine"
    path = exported.with_name(name)
    logger = library.Logger(library.Logger.ERROR)
    if not path.exists():
        draft = path.with_suffix(".part")
        draft.write_bytes(_build_engine(library, logger, exported, context, half))
        draft.replace(path)
    return PreparedBackend(
        _load_engine(library, logger, path, context.device),
        sha256(path),
        lambda: f"NMS is not in it; exported by {exporter_of(exported)}",
    )


def _build_engine(library: Any, logger: Any, exported: Path, context: BackendContext, half: bool) -> bytes:
    builder = library.Builder(logger)
    network = builder.create_network(0)
    parser = library.OnnxParser(network, logger)
    if not parser.parse(exported.read_bytes()):
        raise Unavailable(f"TensorRT cannot read {exported.name}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    # TensorRT allows TF32 by default; eager uses it only where cudnn may.
    if not (torch.backends.cudnn.allow_tf32 or half):
        config.clear_flag(library.BuilderFlag.TF32)
    if half:
        # Later versions take the precision from the network alone.
        if not hasattr(library.BuilderFlag, "FP16"):
            raise Unavailable(f"TensorRT {library.__version__} has no fp16 flag: it requires a network in fp16")
        config.set_flag(library.BuilderFlag.FP16)
    height, width = (-(-side // 32) * 32 for side in context.size)
    # Square, because the images of a batch may be upright or lie on their side.
    max_side = 2 * max(height, width)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, (1, 3, 32, 32), (1, 3, height, width), (MAX_BATCH, 3, max_side, max_side))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Unavailable(f"TensorRT cannot build an engine of {exported.name} for {torch.cuda.get_device_name()}")
    return bytes(engine)


def _load_engine(library: Any, logger: Any, path: Path, device: torch.device) -> Call:
    engine = library.Runtime(logger).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise Unavailable(f"TensorRT cannot load {path}; remove the file; the next measurement builds it again")
    context = engine.create_execution_context()
    tensors = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    outputs = [name for name in tensors if engine.get_tensor_mode(name) == library.TensorIOMode.OUTPUT]

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        # The engine gets an address, no strides.
        inputs = inputs.contiguous()
        if not context.set_input_shape(INPUT, tuple(inputs.shape)):
            raise RuntimeError(f"the TensorRT engine takes up to {MAX_BATCH} images, not {tuple(inputs.shape)}")
        context.set_tensor_address(INPUT, inputs.data_ptr())
        values = [torch.empty(tuple(context.get_tensor_shape(name)), device=device) for name in outputs]
        for name, value in zip(outputs, values, strict=True):
            context.set_tensor_address(name, value.data_ptr())
        context.execute_async_v3(torch.cuda.current_stream(device).cuda_stream)
        return tuple(values)

    return run
