"""Check an artefact before it is timed: equality with eager, AP, and number of operations.

All checks run once, in a process of their own, so that the processes that measure do nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.flops import flops
from benchmarks.latency import parity
from benchmarks.latency.average_precision import average_precision
from c2d.core.errors import InputError, first_line

if TYPE_CHECKING:
    from benchmarks.backends.base import PreparedBackend
    from benchmarks.backends.network import Call
    from benchmarks.latency.pipeline import InferencePipeline

EAGER = "eager"
AP_LIMIT_S = 600.0
"""Seconds that the AP of one artefact may take; one that would take longer has no AP."""


def check_artifact(
    pipeline: InferencePipeline,
    backend: str,
    prepared: PreparedBackend,
    paths: Sequence[Path],
    known_ap: float | None = None,
) -> dict[str, Any]:
    """Check the outputs of one backend, evaluate it, and count its operations.

    Args:
        pipeline: of the student.
        backend: its name, which gives the precision.
        prepared: what its `prepare` returned.
        paths: images on which outputs are compared.
        known_ap: AP (0-1) of these weights, eager, at the config's own input size.

    Returns:
        What `check_outputs` returns, and {counts: {flops, macs, params, trainable} of one image and {uncounted:
        {operator: calls}}, empty where counting failed (the note has the reason); sha256: of the artefact}.
    """
    # Eager at its own size is what the evaluation of the run has measured.
    if backend == EAGER and known_ap is not None and not pipeline.resized:
        outputs: dict[str, Any] = {"max_deviation": None, "tolerance": None, "equal": True, "AP": known_ap, "note": ""}
    else:
        outputs = check_outputs(pipeline, backend, prepared, list(paths))
    counts, note = _count_operations(pipeline, paths)
    notes = [text for text in (outputs["note"], note) if text]
    return {**outputs, "note": "; ".join(notes), "counts": counts, "sha256": prepared.sha256}


def check_outputs(
    pipeline: InferencePipeline,
    backend: str,
    call: Call,
    images: Sequence[Path],
    validation: Sequence[Path] | None = None,
    ap_limit_s: float = AP_LIMIT_S,
) -> dict[str, Any]:
    """Compare one backend's call with eager, and evaluate it.

    Args:
        pipeline: of the student.
        backend: its name, which gives the precision.
        call: the backend's.
        images: files on which outputs are compared.
        validation: files for the AP; None: all of the config's test data set.
        ap_limit_s: seconds that the AP may take, estimated from the comparison.

    Returns:
        {max_deviation: see `parity`; tolerance: the allowed deviation; equal: whether it is within; AP: 0-1, of exactly
        this call, None where it could not be computed; note: one line, with the reason}.
    """
    allowed = parity.tolerance(backend, pipeline.device)
    notes: list[str] = []
    begin = time.monotonic()
    try:
        worst, place = parity.largest_deviation(pipeline, call, images)
    except Exception as error:  # a library's own error, from inside its call
        note = f"it fails on a real image: {type(error).__name__}: {first_line(error)}"
        return {"max_deviation": math.inf, "tolerance": allowed, "equal": False, "AP": None, "note": note}
    equal = worst <= allowed
    if not equal:
        notes.append(place)
    ap = None
    if math.isfinite(worst):
        per_image_s = (time.monotonic() - begin) / max(1, len(images))
        student = pipeline.student
        try:
            paths = student.images(len(student.dataset)) if validation is None else list(validation)
            if per_image_s * len(paths) > ap_limit_s:
                notes.append(f"AP not taken: {len(paths)} images at {per_image_s:.1f} s each")
            else:
                ap = average_precision(pipeline, call, paths)
        except (InputError, OSError) as error:
            notes.append(f"AP not taken: {first_line(error)}")
    return {"max_deviation": worst, "tolerance": allowed, "equal": equal, "AP": ap, "note": "; ".join(notes)}


def _count_operations(pipeline: InferencePipeline, paths: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """Return ({flops, macs, params, trainable, uncounted, counted_at}, why it is empty) of model and post-processing.

    A dense network does the same work on any image, so it is counted on a blank one of the nominal size, and the count
    does not depend on the images at hand; other networks are counted on the first image.
    """
    network = pipeline.network
    try:
        dense = network.nms == "out"
        arrays = [np.zeros((*pipeline.size, 3), np.uint8)] if dense else pipeline.read(paths[:1])
        batch = pipeline.to_device(pipeline.preprocess(arrays))
        counted = flops.count(
            lambda _: pipeline.post_process(network.run(pipeline.eager, batch), batch),
            batch.inputs,
            module=pipeline.student.detector,
        )
    except Exception as error:  # a network that cannot be counted can be timed all the same
        return {}, f"operations could not be counted ({type(error).__name__}: {first_line(error)})"
    return {**counted, "counted_at": "x".join(map(str, batch.inputs.shape[-2:]))}, ""
