"""ONNX Runtime: the exported network on its CPU or CUDA provider, in fp32, with torch's number of threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.backends.base import BackendContext, PreparedBackend, Unavailable
from benchmarks.backends.network import Call
from benchmarks.backends.onnx_export import EXTRA, INPUT, exporter_of, onnx_file, sha256
from benchmarks.backends.packages import require_package
from c2d.core.errors import first_line


def prepare(context: BackendContext) -> PreparedBackend:
    """Export the network, once per workspace, and open it.

    Raises:
        Unavailable: ONNX Runtime is not installed, has no CUDA provider, or the network cannot be exported.
    """
    require_package("onnxruntime", EXTRA)
    path = onnx_file(context)
    call = open_session(path, context.device)
    return PreparedBackend(call, sha256(path), lambda: f"NMS is not in it; exported by {exporter_of(path)}")


def open_session(path: Path, device: torch.device) -> Call:
    """Open an ONNX file as a call; the outputs are the file's, in order.

    Raises:
        Unavailable: ONNX Runtime refuses the file, or has no provider for the device.
    """
    runtime = require_package("onnxruntime", EXTRA)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Operators run one after the other, as in torch, so threads between operators have no work.
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    provider: Any = "CPUExecutionProvider"
    if device.type == "cuda":
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise Unavailable(
                "this onnxruntime has no CUDA provider: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
            )
        # On torch's own stream, so that torch's events time all of it.
        stream = str(torch.cuda.current_stream(device).cuda_stream)
        provider = ("CUDAExecutionProvider", {"device_id": device.index or 0, "user_compute_stream": stream})
    try:
        session = runtime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:
        raise Unavailable(f"ONNX Runtime refuses {path.name}: {first_line(error)}") from error
    if device.type == "cuda":
        # A provider that cannot be loaded is no error: ONNX Runtime falls back to the CPU.
        if session.get_providers()[0] != "CUDAExecutionProvider":
            raise Unavailable("ONNX Runtime cannot load its CUDA provider; its CUDA and cuDNN are not those installed")
        return _run_on_gpu(session, device)

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = session.run(None, {INPUT: inputs.numpy()})
        return tuple(torch.from_numpy(value) for value in outputs)

    return run


def _run_on_gpu(session: Any, device: torch.device) -> Call:
    """Return a call whose inputs and outputs stay on the GPU."""
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        import numpy as np

        # The binding gets an address and a shape, no strides.
        inputs = inputs.contiguous()
        binding = session.io_binding()
        binding.bind_input(INPUT, "cuda", device.index or 0, np.float32, tuple(inputs.shape), inputs.data_ptr())
        for name in names:
            binding.bind_output(name, "cuda", device.index or 0)
        session.run_with_iobinding(binding)
        return tuple(torch.from_dlpack(value._get_c_value()) for value in binding.get_outputs())

    return run
