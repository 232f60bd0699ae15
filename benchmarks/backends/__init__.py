"""The ways to run a student's network, by name. This file imports nothing heavy, so that names can be listed at once.

A backend is a function `prepare(subject) -> Prepared` (or any callable): what it returns takes one batch of images
(B, 3, H, W), float32 on `subject.device`, and returns what `subject.network` returns for it: the same number, order and
shapes of tensors, float32 on `subject.device`. Conversions to another precision or library are inside the call, so
they are timed. Images of a data set differ in size, and so may H and W from call to call.

A backend that writes a file (an exported model) puts it into `subject.workspace` and takes it from there when it is
there already: all launches of one measurement then time the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from c2d.core.errors import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.latency.student import Subject

Call = Callable[["Tensor"], "tuple[Tensor, ...]"]


class Unavailable(Exception):
    """This backend cannot run this student here; the message is the reason of its row, in one line."""


@dataclass(frozen=True)
class Backend:
    """One row's backend: where its `prepare` lives, the precision of its arithmetic, and what it is in a few words."""

    module: str
    precision: str
    says: str
    function: str = "prepare"


@dataclass(frozen=True)
class Prepared:
    """What `prepare` may return to say more than a plain callable can.

    run: the call. sha256: of the artefact where it is a file of its own; None: the checkpoint is the artefact.
    note: asked after the measurement, for what only it can tell (graph breaks, recompiles); "" for nothing.
    conditions: further conditions of the latency file (text, numbers, truth values).
    """

    run: Call
    sha256: str | None = None
    note: Callable[[], str] = field(default=str)
    conditions: Mapping[str, str | float | bool | None] = field(default_factory=dict)

    def __call__(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return self.run(inputs)


BACKENDS: dict[str, Backend] = {
    "eager": Backend("benchmarks.backends.eager", "fp32", "torch as it comes"),
    "compile": Backend("benchmarks.backends.compiled", "fp32", "torch.compile"),
    "channels_last": Backend("benchmarks.backends.channels_last", "fp32", "channels side by side in memory"),
    "fp16": Backend("benchmarks.backends.half", "fp16", "eager in half precision", "fp16"),
    "bf16": Backend("benchmarks.backends.half", "bf16", "eager in bfloat16", "bf16"),
    "onnxruntime": Backend("benchmarks.backends.onnx", "fp32", "ONNX Runtime"),
    "openvino": Backend("benchmarks.backends.openvino", "fp32", "OpenVINO, CPU only"),
    "tensorrt": Backend("benchmarks.backends.tensorrt", "fp32", "TensorRT, GPU only", "fp32"),
    "tensorrt-fp16": Backend("benchmarks.backends.tensorrt", "fp16", "TensorRT in half precision", "fp16"),
    "int8": Backend("benchmarks.backends.int8", "int8", "ONNX Runtime, quantised, CPU only"),
}


def find(name: str) -> Backend:
    """The backend of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS, "see benchmarks/backends")
    return BACKENDS[name]


def prepare(name: str, subject: Subject) -> Prepared:
    """The call of one backend for one student.

    Raises:
        InputError: no such backend.
        Unavailable: the backend cannot run this student here; its message says why.
    """
    backend = find(name)
    made: Any = getattr(import_module(backend.module), backend.function)(subject)
    return made if isinstance(made, Prepared) else Prepared(made)
