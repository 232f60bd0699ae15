"""int8 on the CPU: convolutions of the exported network with weights and activations of 8 bits, by ONNX Runtime.

Post-training and static: the range of every activation is taken from `IMAGES` validation images, so that the AP of its
row is slightly optimistic, and says so. Weights have a scale per output channel.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.backends import Prepared, Unavailable
from benchmarks.backends.onnx import say, session
from benchmarks.backends.onnx_export import EXTRA, INPUT, exporter, onnx_file, sha256
from benchmarks.backends.packages import need
from c2d.core.errors import InputError, first_line

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject

IMAGES = 32


def prepare(subject: Subject) -> Prepared:
    """Raises Unavailable: on a GPU, without ONNX Runtime, without images, or where the network cannot be exported."""
    if subject.device.type != "cpu":
        raise Unavailable(f"int8 is timed on the CPU, this student is on {subject.device}; measure with --device cpu")
    need("onnxruntime", EXTRA)
    whole = onnx_file(subject)
    path = whole.with_name(f"{whole.stem}-int8.onnx")
    if not path.exists():
        _quantise(subject, whole, path)
    call = session(path, subject.device)
    note = f"NMS is not in it; convolutions in int8, ranges of {IMAGES} validation images; exported by"
    return Prepared(call, sha256(path), say(note, exporter(whole)))


def _quantise(subject: Subject, whole: Path, path: Path) -> None:
    library = need("onnxruntime.quantization", EXTRA)
    preparing = need("onnxruntime.quantization.shape_inference", EXTRA)
    folded, draft = path.with_suffix(".folded"), path.with_suffix(".part")
    try:
        with _quiet():
            preparing.quant_pre_process(str(whole), str(folded), skip_symbolic_shape=True)
            library.quantize_static(
                str(folded),
                str(draft),
                _Images(subject),
                quant_format=library.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=library.QuantType.QInt8,
                weight_type=library.QuantType.QInt8,
            )
        draft.replace(path)
    except InputError as error:
        raise Unavailable(f"int8 needs images to calibrate on: {first_line(error)}") from error
    except Exception as error:
        raise Unavailable(f"ONNX Runtime cannot quantise {whole.name}: {first_line(error)}") from error
    finally:
        for rest in (folded, draft):
            rest.unlink(missing_ok=True)


class _Images:
    """What ONNX Runtime calls a CalibrationDataReader: one image after the other, then None."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self._paths = subject, iter(subject.images(IMAGES))

    def get_next(self) -> dict[str, Any] | None:
        path = next(self._paths, None)
        if path is None:
            return None
        return {INPUT: self._subject.preprocess(self._subject.read([path])).inputs.numpy()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.get_next, None)

    def __next__(self) -> dict[str, Any]:
        if (found := self.get_next()) is None:
            raise StopIteration
        return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser warns through the root logger of every constant that it leaves alone."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
