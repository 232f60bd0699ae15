"""OpenVINO: the exported network on Intel's CPU runtime, which serves other x86 and ARM processors too.

Left to itself it computes in bf16 wherever the processor can; here it is told fp32, as its row says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.backends import Prepared, Unavailable
from benchmarks.backends.onnx import say
from benchmarks.backends.onnx_export import exporter, onnx_file, sha256
from benchmarks.backends.packages import need
from c2d.core.errors import first_line

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject

EXTRA = "'c2d-suite[openvino]'"


def prepare(subject: Subject) -> Prepared:
    """Raises Unavailable: OpenVINO is not installed, the subject is on a GPU, or the network cannot be exported."""
    if subject.device.type != "cpu":
        raise Unavailable(
            f"OpenVINO is timed on the CPU, this student is on {subject.device}; measure with --device cpu"
        )
    library = need("openvino", EXTRA)
    path = onnx_file(subject)
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        core = library.Core()
        compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    except Exception as error:
        raise Unavailable(f"OpenVINO refuses {path.name}: {first_line(error)}") from error
    outputs = compiled.outputs

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        found = compiled([inputs.numpy()], share_inputs=True)
        return tuple(torch.from_numpy(found[one]) for one in outputs)

    return Prepared(run, sha256(path), say("NMS is not in it; exported by", exporter(path)))
