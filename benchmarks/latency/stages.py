"""Measure the stages of inference, each as a call without arguments over the same images, batch after batch.

A sample of any stage is the time of one whole batch. Inputs from earlier stages are computed before the clock starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.latency import timing
from benchmarks.latency.latency_request import (
    COPY,
    END_TO_END,
    MODEL,
    POST_PROCESS,
    PREPROCESS,
    READ,
    LatencyRequest,
)
from benchmarks.machine import cpu, gpu, peak_memory
from c2d.core.errors import InputError, first_line

if TYPE_CHECKING:
    from benchmarks.backends.base import PreparedBackend
    from benchmarks.backends.network import Call
    from benchmarks.latency.pipeline import InferencePipeline

WITH_MODEL = (MODEL, END_TO_END)
"""Stages whose peak memory is the student's."""
MAX_BATCHES = 8
"""Batches that are kept in memory for a stage."""


class StageNotApplicable(Exception):
    """This stage does not exist for this student on this device; the message is the row's reason."""


def measure_stages(
    pipeline: InferencePipeline,
    prepared: PreparedBackend,
    request: LatencyRequest,
    paths: list[Path],
    emit: Callable[[dict[str, Any]], None],
    baseline_mib: float = 0.0,
) -> None:
    """Measure every batch size and stage, small batches first; after one that does not fit, larger ones are skipped.

    Args:
        pipeline: of the student.
        prepared: the backend.
        request: batch sizes, stages and rule.
        paths: image files.
        emit: gets each line, see `benchmarks.latency.worker`.
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
            except StageNotApplicable as reason:
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
    call = stage_call(pipeline, prepared, stage, batch, paths)
    clock_name, clock = stage_clock(stage, pipeline.device.type)
    nms = stage_nms(stage, pipeline.network.nms)
    card = gpu.open_gpu(pipeline.device.index or 0) if pipeline.device.type == "cuda" else "none"
    call()  # before the reset: what compiling takes is no memory of the calls that are timed
    peak_memory.reset_peak(device)
    before, gpu_before = cpu.read_counters(), card.read_state() if isinstance(card, gpu.Gpu) else None
    samples = timing.time_call(call, request.rule, clock, request.interval_ms)
    gpu_after, after = card.read_state() if isinstance(card, gpu.Gpu) else None, cpu.read_counters()
    peak = peak_memory.peak_mib(device, baseline_mib)
    reasons = [cpu.disturbance(before, after)]
    states = {"before": before.facts, "after": after.facts}
    if gpu_before and gpu_after:
        reasons.append(gpu.disturbance(gpu_before, gpu_after))
        states = {"before": {**states["before"], **gpu_before.facts}, "after": {**states["after"], **gpu_after.facts}}
    # A call that still becomes faster (or slower) has no single latency.
    if not samples.steady:
        reasons.append(f"it never became steady in {len(samples.warm_up_ms)} calls of warm-up")
    return {
        "clock": clock_name,
        "nms": nms,
        "samples_ms": samples.samples_ms,
        "warm_up_ms": samples.warm_up_ms,
        "missed_intervals": samples.missed_intervals,
        "peak_mib": round(peak, 1) if stage in WITH_MODEL else None,
        "seen": states,
        "disturbed": "; ".join(filter(None, reasons)) or None,
    }


def batches_of_files(paths: Sequence[Path], size: int) -> list[list[Path]]:
    """Return batches of exactly `size` files, repeated in order until every file (or MAX_BATCHES batches) is used."""
    if not paths:
        raise InputError("there is no image to time; give at least one")
    # -(-a // b) is a / b rounded up.
    count = min(MAX_BATCHES, -(-len(paths) // size))
    endless = itertools.cycle(paths)
    return [list(itertools.islice(endless, size)) for _ in range(count)]


def stage_call(
    pipeline: InferencePipeline, call: Call, stage: str, size: int, paths: Sequence[Path]
) -> Callable[[], Any]:
    """Return a call that sends one batch through one stage, the next batch at every call.

    Args:
        pipeline: of the student.
        call: a backend's, or `pipeline.eager`.
        stage: one of STAGES.
        size: images in a batch.
        paths: image files.

    Raises:
        StageNotApplicable: there is no work to time.
    """
    files = batches_of_files(paths, size)
    if stage == READ:
        return _cycle(pipeline.read, files)
    if stage == END_TO_END:
        return _cycle(lambda batch: pipeline.end_to_end(batch, call), files)
    arrays = [pipeline.read(batch) for batch in files]
    if stage == PREPROCESS:
        return _cycle(pipeline.preprocess, arrays)
    on_host = [pipeline.preprocess(batch) for batch in arrays]
    if stage == COPY:
        if pipeline.device.type == "cpu":
            raise StageNotApplicable("there is nothing to copy: the model runs on the CPU")
        return _cycle(pipeline.to_device, on_host)
    on_device = [pipeline.to_device(batch) for batch in on_host]
    if stage == MODEL:
        return _cycle(lambda batch: pipeline.network.run(call, batch), on_device)
    if not pipeline.network.separable:
        raise StageNotApplicable(
            "the network of this detector ends with its detections; the stage `model` holds all of it"
        )
    # Clones, because a backend may write into the same output buffers at its next call.
    raw = [(tuple(one.clone() for one in pipeline.network.run(call, batch)), batch) for batch in on_device]
    return _cycle(lambda pair: pipeline.post_process(*pair), raw)


def stage_clock(stage: str, device_type: str) -> tuple[str, timing.Clock]:
    """Return (name, clock): events of the GPU where only the GPU works, else the processor's clock."""
    if device_type == "cpu":
        return "perf_counter", timing.wall_ms
    if stage in (COPY, MODEL):
        return "device events", timing.device_event_ms
    return "perf_counter, synchronised", timing.synchronised_wall_ms


def stage_nms(stage: str, network_nms: str) -> str:
    """Return what of NMS is in the time of a stage: "in", "out" or "RPN's"."""
    return {MODEL: network_nms, POST_PROCESS: "in", END_TO_END: "in"}.get(stage, "out")


def _cycle(work: Callable[[Any], Any], batches: Sequence[Any]) -> Callable[[], Any]:
    endless = itertools.cycle(batches)
    return lambda: work(next(endless))
