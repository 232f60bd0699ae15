"""Measure one backend in a process of its own: `python -m benchmarks.latency.worker REQUEST`.

Kernels, memory layout and clocks are chosen once a process, so a measurement needs several processes. The process
appends lines of JSON to `request.out` as results come, so that those of a process that dies are kept:

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
from benchmarks.latency import stages
from benchmarks.latency.latency_request import LatencyRequest
from benchmarks.latency.timing import time_call
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
        baseline_mib = _import_packages(request)
        pipeline = _load_pipeline(request)
        paths = _image_files(pipeline, request)
        prepared = prepare_backend(request.backend, pipeline.backend_context(Path(request.workspace)))
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
        raise


def _import_packages(request: LatencyRequest) -> float:
    """Import what a student needs and return the memory (MiB) of the process after that."""
    from benchmarks.latency.student import register_mmdet

    register_mmdet()
    return peak_memory.baseline_mib(request.device)


def _load_pipeline(request: LatencyRequest) -> InferencePipeline:
    import cv2
    import torch

    from benchmarks.latency.pipeline import InferencePipeline
    from benchmarks.latency.student import load_stock_student

    if request.threads:
        torch.set_num_threads(request.threads)
        cv2.setNumThreads(request.threads)
    config, checkpoint = Path(request.config), Path(request.checkpoint)
    student = load_stock_student(config, checkpoint, request.device, request.dataset_overrides)
    return InferencePipeline(student, request.size)


def _image_files(pipeline: InferencePipeline, request: LatencyRequest) -> list[Path]:
    if request.images == "random":
        from benchmarks.latency.pipeline import write_random_images

        return write_random_images(Path(request.workspace) / "random", pipeline.size, request.image_count)
    return pipeline.student.images(request.image_count)


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


def measure_stages(
    pipeline: InferencePipeline,
    prepared: PreparedBackend,
    request: LatencyRequest,
    paths: list[Path],
    emit: Emit,
    baseline_mib: float = 0.0,
) -> None:
    """Measure every batch size and stage, small batches first; after one that does not fit, larger ones are skipped.

    Args:
        pipeline: of the student.
        prepared: the backend.
        request: batch sizes, stages and rule.
        paths: image files.
        emit: gets the lines.
        baseline_mib: memory (MiB) of the process with its packages imported.
    """
    too_large: str | None = None
    for batch in sorted(request.batches):
        for stage in request.stages:
            emit({"begin": [batch, stage]})
            key = {"batch": batch, "stage": stage}
            if too_large:
                emit({**key, "reason": too_large, "memory": True})
                continue
            try:
                emit({**key, **_measure_stage(pipeline, prepared, request, batch, stage, paths, baseline_mib)})
            except stages.StageNotApplicable as reason:
                emit({**key, "reason": str(reason), "not_applicable": True})
            except Exception as error:
                if not peak_memory.is_out_of_memory(error):
                    emit({**key, "reason": f"{type(error).__name__}: {first_line(error)}"})
                    continue
                too_large = f"batch {batch} does not fit in memory ({first_line(error)[:160]})"
                emit({**key, "reason": too_large, "memory": True})
                peak_memory.release_memory(str(pipeline.device))


def _measure_stage(
    pipeline: InferencePipeline,
    prepared: PreparedBackend,
    request: LatencyRequest,
    batch: int,
    stage: str,
    paths: list[Path],
    baseline_mib: float,
) -> dict[str, Any]:
    device = str(pipeline.device)
    clock_name, clock = stages.stage_clock(stage, pipeline.device.type)
    call = stages.stage_call(pipeline, prepared, stage, batch, paths)
    card = gpu.open_gpu(pipeline.device.index or 0) if pipeline.device.type == "cuda" else "none"
    call()  # before the reset: what compiling takes is no memory of the calls that are timed
    peak_memory.reset_peak(device)
    before, gpu_before = cpu.read_counters(), card.read_state() if isinstance(card, gpu.Gpu) else None
    samples = time_call(call, request.rule, clock, request.interval_ms)
    gpu_after, after = card.read_state() if isinstance(card, gpu.Gpu) else None, cpu.read_counters()
    peak = peak_memory.peak_mib(device, baseline_mib)
    reasons = [cpu.disturbance(before, after)]
    states = {"before": before.facts, "after": after.facts}
    if gpu_before and gpu_after:
        reasons.append(gpu.disturbance(gpu_before, gpu_after))
        states = {"before": {**states["before"], **gpu_before.facts}, "after": {**states["after"], **gpu_after.facts}}
    if not samples.steady:
        reasons.append(f"it never became steady in {len(samples.warm_up_ms)} calls of warm-up")
    return {
        "clock": clock_name,
        "nms": stages.stage_nms(stage, pipeline.network.nms),
        "samples_ms": samples.samples_ms,
        "warm_up_ms": samples.warm_up_ms,
        "missed_intervals": samples.missed_intervals,
        "peak_mib": round(peak, 1) if stage in stages.WITH_MODEL else None,
        "seen": states,
        "disturbed": "; ".join(filter(None, reasons)) or None,
    }


def main(text: str) -> int:
    """Serve the request in `text` and append its lines to the file that it names."""
    request = LatencyRequest.from_json(text)
    with open(request.out, "a", encoding="utf-8") as stream:

        def emit(line: dict[str, Any]) -> None:
            stream.write(json.dumps(line) + "\n")
            stream.flush()

        serve(request, emit)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
