"""Measure one backend in a process of its own: `python -m benchmarks.latency.worker REQUEST`.

Kernels, memory layout and clocks are chosen once a process, so a measurement needs several processes. The process
appends lines of JSON to `request.out` after each result, so that a process that is killed loses only the result in
progress:

    {"facts": {...}}                                  device and conditions, after the student is loaded
    {"begin": [batch, stage]}                         then one of the two:
    {"batch", "stage", "samples_ms", ...}             samples, and the state of the machine
    {"batch", "stage", "reason"}                      why there are none
    {"checks": {...}}                                 instead of samples, for a request with `check_only`
    {"note": "..."}                                   the backend's note at the end
    {"failed": "...", "kind": "unavailable"|"input"|"error"}    the last line of a process that failed
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.backends.base import Unavailable
from benchmarks.backends.registry import find_backend, prepare_backend
from benchmarks.latency.latency_request import LatencyRequest
from benchmarks.latency.stages import measure_stages
from benchmarks.machine import cpu, gpu, peak_memory
from c2d.core.errors import InputError, first_line

if TYPE_CHECKING:
    from benchmarks.backends.base import PreparedBackend
    from benchmarks.latency.pipeline import InferencePipeline

Emit = Callable[[dict[str, Any]], None]
"""Writes one line."""


def serve(request: LatencyRequest, emit: Emit) -> None:
    """Do all the work of one process. Expected errors become the line `failed`; others are raised after it."""
    try:
        pipeline, baseline_mib = _load_pipeline(request)
        workspace = Path(request.workspace)
        paths = pipeline.image_files(request.images, request.image_count, workspace / "random")
        prepared = prepare_backend(request.backend, pipeline.backend_context(workspace))
        emit({"facts": facts(pipeline, request, prepared)})
        if request.check_only:
            from benchmarks.latency.artifact_checks import check_artifact

            # A request for random images is checked on real ones, where there are any.
            with contextlib.suppress(InputError):
                paths = pipeline.student.images(request.image_count)
            emit({"checks": check_artifact(pipeline, request.backend, prepared, paths, request.known_ap)})
        else:
            measure_stages(pipeline, prepared, request, paths, emit, baseline_mib)
            emit({"note": prepared.note()})
    except Unavailable as reason:
        emit({"failed": first_line(reason), "kind": "unavailable"})
    except InputError as error:
        emit({"failed": str(error), "kind": "input"})
    except Exception as error:
        emit({"failed": f"{type(error).__name__}: {first_line(error)}", "kind": "error"})
        raise  # the traceback goes to the log of the process, which the parent reads


def _load_pipeline(request: LatencyRequest) -> tuple[InferencePipeline, float]:
    """Return the student's pipeline, and the memory (MiB) of the process with its packages before the student."""
    import cv2
    import torch

    from benchmarks.latency.pipeline import InferencePipeline
    from benchmarks.latency.student import load_stock_student
    from c2d.detectors import compat

    compat.prepare()  # imports all of mmdet: the baseline below includes it
    baseline_mib = peak_memory.baseline_mib(request.device)
    if request.threads:
        torch.set_num_threads(request.threads)
        # OpenCV decodes and resizes with threads of its own.
        cv2.setNumThreads(request.threads)
    config, checkpoint = Path(request.config), Path(request.checkpoint)
    student = load_stock_student(config, checkpoint, request.device, request.dataset_overrides)
    return InferencePipeline(student, request.size), baseline_mib


def facts(pipeline: InferencePipeline, request: LatencyRequest, prepared: PreparedBackend) -> dict[str, Any]:
    """Return what holds for every sample of this process: device name, machine, conditions, SHA-256 of the artefact."""
    import torch

    machine = cpu.machine_facts()
    name = machine["cpu"]
    notes = [caveat] if (caveat := peak_memory.peak_caveat(str(pipeline.device))) else []
    if pipeline.device.type == "cuda":
        name = torch.cuda.get_device_name(pipeline.device)
        card = gpu.open_gpu(pipeline.device.index or 0)
        notes += [card] if isinstance(card, str) else []
        machine |= {"gpu": name, **({} if isinstance(card, str) else card.machine_facts())}
    if machine["governor"] not in (None, "performance"):
        notes.append(f"the CPU's governor is {machine['governor']}: clocks follow the load")
    mode = "closed loop" if request.interval_ms is None else f"single stream every {request.interval_ms:g} ms"
    return {
        "device": name,
        "machine": machine,
        "notes": notes,
        "sha256": prepared.sha256,
        "nms": pipeline.network.nms,
        "resized": pipeline.resized,
        "padded": pipeline.padded_size,
        "conditions": {
            "backend": request.backend,
            "precision": find_backend(request.backend).precision,
            "input": f"{pipeline.size[0]}x{pipeline.size[1]}",
            "images": request.images,
            "score_threshold": pipeline.student.score_threshold,
            "mode": mode,
            "threads": torch.get_num_threads(),
            "cores": machine["cores"],
            **prepared.conditions,
        },
    }


def main(text: str) -> int:
    """Serve the request in `text` and append its lines to the file that it names."""
    request = LatencyRequest.from_json(text)
    with open(request.out, "a", encoding="utf-8") as stream:

        def emit(line: dict[str, Any]) -> None:
            stream.write(json.dumps(line) + "\n")
            # A process that is killed loses what is still in its buffer.
            stream.flush()

        serve(request, emit)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
