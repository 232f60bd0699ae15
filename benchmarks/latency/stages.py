"""The stages of inference, each as a call without arguments over the same images, one batch after the other.

A sample of any stage is the time of one whole batch. Inputs from earlier stages are computed before the clock starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.latency import timing
from c2d.core.errors import InputError, unknown_name

if TYPE_CHECKING:
    from benchmarks.backends.network import Call
    from benchmarks.latency.pipeline import InferencePipeline

READ, PREPROCESS, COPY, MODEL, POST_PROCESS, END_TO_END = STAGES = (
    "read and decode",
    "preprocess",
    "host to device",
    "model",
    "post-process",
    "end to end",
)
WITH_MODEL = (MODEL, END_TO_END)
"""Stages whose peak memory is the student's."""
MAX_BATCHES = 8
"""Batches that are kept in memory for a stage."""


class StageNotApplicable(Exception):
    """This stage does not exist for this student on this device; the message is the row's reason."""


def check_stages(names: Sequence[str]) -> tuple[str, ...]:
    """Return the stages in their order.

    Raises:
        InputError: unknown name.
    """
    for name in names:
        if name not in STAGES:
            raise unknown_name("stage", name, STAGES)
    return tuple(name for name in STAGES if name in names)


def batches_of_files(paths: Sequence[Path], size: int) -> list[list[Path]]:
    """Return batches of exactly `size` files, repeated in order until every file (or MAX_BATCHES batches) is used."""
    if not paths:
        raise InputError("there is no image to time; give at least one")
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
