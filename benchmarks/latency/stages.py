"""The stages of a detector at work, each as a call without arguments over the same images, one batch after the other.

A sample of any stage is the time of one whole batch. What it needs from earlier stages is made ahead of the clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.backends import Call
from c2d.core.errors import InputError, unknown_name

if TYPE_CHECKING:
    from benchmarks.latency.student import Subject
    from benchmarks.latency.timing import Clock

READ, PREPROCESS, COPY, MODEL, POST, ALL = STAGES = (
    "read and decode",
    "preprocess",
    "host to device",
    "model",
    "post-process",
    "end to end",
)
WITH_MODEL = (MODEL, ALL)
"""Those whose peak memory is the student's."""
HELD = 8
"""At most so many batches are held ready for a stage."""


class Nothing(Exception):
    """This stage does not exist for this student on this device; the message is the row's reason."""


def check(names: Sequence[str]) -> tuple[str, ...]:
    """The stages in their order.

    Raises:
        InputError: an unknown one.
    """
    for name in names:
        if name not in STAGES:
            raise unknown_name("stage", name, STAGES)
    return tuple(name for name in STAGES if name in names)


def batches(paths: Sequence[Path], size: int) -> list[list[Path]]:
    """Batches of exactly `size` files, in order and round again, until every file (or HELD batches) was in one."""
    if not paths:
        raise InputError("there is no image to time; give at least one")
    count = min(HELD, -(-len(paths) // size))
    endless = itertools.cycle(paths)
    return [list(itertools.islice(endless, size)) for _ in range(count)]


def call_of(subject: Subject, call: Call, stage: str, size: int, paths: Sequence[Path]) -> Callable[[], Any]:
    """One batch of `size` images through one stage, the next batch at every call.

    Raises:
        Nothing: there is nothing to time.
    """
    files = batches(paths, size)
    if stage == READ:
        return _round(subject.read, files)
    if stage == ALL:
        return _round(lambda given: subject.end_to_end(given, call), files)
    arrays = [subject.read(given) for given in files]
    if stage == PREPROCESS:
        return _round(subject.preprocess, arrays)
    on_host = [subject.preprocess(given) for given in arrays]
    if stage == COPY:
        if subject.device.type == "cpu":
            raise Nothing("there is nothing to copy: the model runs on the CPU")
        return _round(subject.to_device, on_host)
    ready = [subject.to_device(batch) for batch in on_host]
    if stage == MODEL:
        return _round(lambda batch: subject.run(call, batch), ready)
    if not subject.network.separable:
        raise Nothing("the network of this detector ends with its detections; the stage `model` holds all of it")
    raw = [(_kept(subject.run(call, batch)), batch) for batch in ready]
    return _round(lambda pair: subject.post(*pair), raw)


def clock_of(stage: str, device: str) -> tuple[str, Clock]:
    """(name, clock): the GPU's events where the GPU alone works, else the processor's clock."""
    from benchmarks.latency import timing

    if device == "cpu":
        return "perf_counter", timing.wall
    if stage in (COPY, MODEL):
        return "device events", timing.device_events
    return "perf_counter, synchronised", timing.wall_synchronised


def nms_of(stage: str, in_model: str) -> str:
    """What of NMS is in the time: "in", "out", "RPN's"."""
    return {MODEL: in_model, POST: "in", ALL: "in"}.get(stage, "out")


def random_images(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """`count` files of uniform noise, (height, width) pixels, PNG, written once; the same ones every time."""
    import cv2
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    paths = [folder / f"noise_{size[0]}x{size[1]}_{index:03d}.png" for index in range(count)]
    for path in paths:
        pixels = noise.integers(0, 256, (*size, 3), dtype=np.uint8)
        if not path.exists():
            cv2.imwrite(str(path), pixels)
    return paths


def _kept(raw: Sequence[Any]) -> tuple[Any, ...]:
    """Outputs of their own: a backend may use its buffers again at the next call."""
    return tuple(one.clone() for one in raw)


def _round(work: Callable[[Any], Any], given: Sequence[Any]) -> Callable[[], Any]:
    endless = itertools.cycle(given)
    return lambda: work(next(endless))
