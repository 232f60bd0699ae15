"""TensorRT: the exported network as an engine of this GPU, batch, height and width open within stated bounds.

The engine is kept in the workspace: building takes minutes, and all launches time the same bytes. It is tuned for one
image of the subject's size; fp32 may use TF32 exactly where torch's convolutions may.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks.backends import Call, Prepared, Unavailable
from benchmarks.backends.onnx import say
from benchmarks.backends.onnx_export import INPUT, exporter, onnx_file, sha256
from benchmarks.backends.packages import need

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject

MOST = 32
"""Images in a batch."""
INSTALL = "tensorrt"


def fp32(subject: Subject) -> Prepared:
    return _prepare(subject, half=False)


def fp16(subject: Subject) -> Prepared:
    return _prepare(subject, half=True)


def _prepare(subject: Subject, half: bool) -> Prepared:
    """Raises Unavailable: no GPU, TensorRT is not installed or cannot build, or the network cannot be exported."""
    library = need("tensorrt", INSTALL)
    if subject.device.type != "cuda":
        raise Unavailable(f"TensorRT needs a GPU, this student is on {subject.device}; measure with --device cuda")
    whole = onnx_file(subject)
    gpu = "".join(letter if letter.isalnum() else "-" for letter in torch.cuda.get_device_name(subject.device))
    name = f"{whole.stem}-{gpu}-{library.__version__}-{'fp16' if half else 'fp32'}.engine"
    path = whole.with_name(name)
    logger = library.Logger(library.Logger.ERROR)
    if not path.exists():
        draft = path.with_suffix(".part")
        draft.write_bytes(_build(library, logger, whole, subject, half))
        draft.replace(path)
    return Prepared(
        _call(library, logger, path, subject.device),
        sha256(path),
        say("NMS is not in it; exported by", exporter(whole)),
    )


def _build(library: Any, logger: Any, whole: Path, subject: Subject, half: bool) -> bytes:
    builder = library.Builder(logger)
    network = builder.create_network(0)
    parser = library.OnnxParser(network, logger)
    if not parser.parse(whole.read_bytes()):
        raise Unavailable(f"TensorRT cannot read {whole.name}: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    if not (torch.backends.cudnn.allow_tf32 or half):
        config.clear_flag(library.BuilderFlag.TF32)
    if half:
        if not hasattr(library.BuilderFlag, "FP16"):
            raise Unavailable(f"TensorRT {library.__version__} has no fp16 switch any more: it wants a network in fp16")
        config.set_flag(library.BuilderFlag.FP16)
    height, width = (-(-side // 32) * 32 for side in subject.size)
    longest = 2 * max(height, width)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, (1, 3, 32, 32), (1, 3, height, width), (MOST, 3, longest, longest))
    config.add_optimization_profile(profile)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise Unavailable(f"TensorRT cannot build an engine of {whole.name} for {torch.cuda.get_device_name()}")
    return bytes(built)


def _call(library: Any, logger: Any, path: Path, device: torch.device) -> Call:
    engine = library.Runtime(logger).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise Unavailable(f"TensorRT cannot load {path}; remove it, it is built again")
    context = engine.create_execution_context()
    tensors = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    outputs = [name for name in tensors if engine.get_tensor_mode(name) == library.TensorIOMode.OUTPUT]

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        inputs = inputs.contiguous()
        if not context.set_input_shape(INPUT, tuple(inputs.shape)):
            raise RuntimeError(f"the TensorRT engine takes up to {MOST} images, not {tuple(inputs.shape)}")
        context.set_tensor_address(INPUT, inputs.data_ptr())
        found = [torch.empty(tuple(context.get_tensor_shape(name)), device=device) for name in outputs]
        for name, value in zip(outputs, found, strict=True):
            context.set_tensor_address(name, value.data_ptr())
        context.execute_async_v3(torch.cuda.current_stream(device).cuda_stream)
        return tuple(found)

    return run
