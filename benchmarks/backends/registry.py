"""The backends by name. This file imports nothing heavy, so that the names can be listed at once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.backends.base import PreparedBackend
from c2d.core.errors import unknown_name

if TYPE_CHECKING:
    from benchmarks.backends.base import BackendContext


@dataclass(frozen=True)
class Backend:
    """Where a backend lives.

    Attributes:
        module: the module that defines it.
        precision: of its arithmetic: fp32, fp16, bf16 or int8.
        description: a few words.
        function: name of the function `prepare(context) -> PreparedBackend` in the module.
    """

    module: str
    precision: str
    description: str
    function: str = "prepare"


BACKENDS: dict[str, Backend] = {
    "eager": Backend("benchmarks.backends.eager", "fp32", "torch, operator by operator"),
    "compile": Backend("benchmarks.backends.compiled", "fp32", "torch.compile"),
    "channels_last": Backend("benchmarks.backends.channels_last", "fp32", "memory format channels_last"),
    "fp16": Backend("benchmarks.backends.half", "fp16", "eager in half precision", "prepare_fp16"),
    "bf16": Backend("benchmarks.backends.half", "bf16", "eager in bfloat16", "prepare_bf16"),
    "onnxruntime": Backend("benchmarks.backends.onnx", "fp32", "ONNX Runtime"),
    "openvino": Backend("benchmarks.backends.openvino", "fp32", "OpenVINO, CPU only"),
    "tensorrt": Backend("benchmarks.backends.tensorrt", "fp32", "TensorRT, GPU only", "prepare_fp32"),
    "tensorrt-fp16": Backend("benchmarks.backends.tensorrt", "fp16", "TensorRT in half precision", "prepare_fp16"),
    "int8": Backend("benchmarks.backends.int8", "int8", "ONNX Runtime, quantised, CPU only"),
}


def find_backend(name: str) -> Backend:
    """Return the backend of that name.

    Raises:
        InputError: unknown name; the message lists all.
    """
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS, "see benchmarks/backends")
    return BACKENDS[name]


def prepare_backend(name: str, context: BackendContext) -> PreparedBackend:
    """Prepare one backend for one student.

    Raises:
        InputError: unknown name.
        Unavailable: the backend cannot run this student on this machine; the message is the reason.
    """
    backend = find_backend(name)
    prepare: Any = getattr(import_module(backend.module), backend.function)
    prepared = prepare(context)
    # A backend may return the bare call where it has no artefact and no note.
    return prepared if isinstance(prepared, PreparedBackend) else PreparedBackend(prepared)
