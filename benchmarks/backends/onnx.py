"""ONNX Runtime: the exported network on its CPU or CUDA provider, in fp32, with as many threads as torch has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks.backends import Call, Prepared, Unavailable
from benchmarks.backends.onnx_export import EXTRA, INPUT, exporter, onnx_file, sha256
from benchmarks.backends.packages import need
from c2d.core.errors import first_line

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject


def prepare(subject: Subject) -> Prepared:
    """Raises Unavailable: ONNX Runtime is not installed, has no CUDA provider, or the network cannot be exported."""
    need("onnxruntime", EXTRA)
    path = onnx_file(subject)
    call = session(path, subject.device)
    return Prepared(call, sha256(path), say("NMS is not in it; exported by", exporter(path)))


def say(*words: str) -> Callable[[], str]:
    return lambda: " ".join(words)


def session(path: Path, device: torch.device) -> Call:
    """A file as a call; the outputs are the file's, in order.

    Raises:
        Unavailable: ONNX Runtime refuses the file, or has no provider for the device.
    """
    runtime = need("onnxruntime", EXTRA)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    provider: Any = "CPUExecutionProvider"
    if device.type == "cuda":
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise Unavailable(
                "this onnxruntime has no CUDA provider: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
            )
        # On torch's own stream: its events then time the whole of it.
        stream = str(torch.cuda.current_stream(device).cuda_stream)
        provider = ("CUDAExecutionProvider", {"device_id": device.index or 0, "user_compute_stream": stream})
    try:
        made = runtime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:
        raise Unavailable(f"ONNX Runtime refuses {path.name}: {first_line(error)}") from error
    if device.type == "cuda":
        if made.get_providers()[0] != "CUDAExecutionProvider":
            raise Unavailable("ONNX Runtime cannot load its CUDA provider; its CUDA and cuDNN are not those installed")
        return _on_gpu(made, device)

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        found = made.run(None, {INPUT: inputs.numpy()})
        return tuple(torch.from_numpy(value) for value in found)

    return run


def _on_gpu(made: Any, device: torch.device) -> Call:
    """Inputs and outputs stay on the GPU."""
    names = [one.name for one in made.get_outputs()]

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        import numpy as np

        inputs = inputs.contiguous()
        bound = made.io_binding()
        bound.bind_input(INPUT, "cuda", device.index or 0, np.float32, tuple(inputs.shape), inputs.data_ptr())
        for name in names:
            bound.bind_output(name, "cuda", device.index or 0)
        made.run_with_iobinding(bound)
        return tuple(torch.from_dlpack(value._get_c_value()) for value in bound.get_outputs())

    return run
