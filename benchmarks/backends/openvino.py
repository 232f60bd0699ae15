"""OpenVINO: the exported network on Intel's CPU runtime, which supports other x86 and ARM processors too.

By default it computes in bf16 where the processor can. The hint below requires fp32, as the row states.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.backends.base import BackendContext, PreparedBackend, Unavailable
from benchmarks.backends.onnx_export import exporter_of, onnx_file, sha256
from benchmarks.backends.packages import require_package
from c2d.core.errors import first_line

EXTRA = "'c2d-suite[openvino]'"


def prepare(context: BackendContext) -> PreparedBackend:
    """Export the network, once per workspace, and compile it.

    Raises:
        Unavailable: OpenVINO is not installed, the student is on a GPU, or the network cannot be exported.
    """
    if context.device.type != "cpu":
        raise Unavailable(
            f"OpenVINO is timed on the CPU, this student is on {context.device}; measure with --device cpu"
        )
    library = require_package("openvino", EXTRA)
    path = onnx_file(context)
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        # One request at a time, as the samples are taken.
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        core = library.Core()
        compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    except Exception as error:
        raise Unavailable(f"OpenVINO refuses {path.name}: {first_line(error)}") from error
    outputs = compiled.outputs

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        # share_inputs: the runtime reads torch's memory; a copy would be part of the time.
        values = compiled([inputs.numpy()], share_inputs=True)
        return tuple(torch.from_numpy(values[output]) for output in outputs)

    return PreparedBackend(run, sha256(path), lambda: f"NMS is not in it; exported by {exporter_of(path)}")
