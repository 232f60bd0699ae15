"""Compare the outputs of an artefact with eager, on real images.

**Deviation.** Where NMS is outside the network, raw maps are compared: the largest absolute difference in a map,
divided by the largest absolute eager value of the map (or by 1, where that is smaller). Where the network holds NMS,
proposals may come in another order, so detections are compared: the score and box of each with the closest detection of
the same class on the other side (differences of score, and of corners divided by the longer side of the image), or with
none (its score above the threshold).

**Tolerance.** A multiple of the rounding of one operation: 2^-24 of a value in fp32, 2^-11 in TF32 and fp16, 2^-8 in
bf16. A network adds thousands of such roundings, in another order in every library. Of trained students with some 30
layers we measured 25 of them in fp32 and 2 in the others, so 1e-4 leaves room for deeper ones; it moves a logit of 10
by 0.001, and its score by at most 0.00025. int8 has no such bound: 0.25 detects a broken export, the AP shows the
loss. A change in a map that hardly varies around a large bias, as an untrained student's do, stays below the tolerance.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.backends.registry import find_backend

if TYPE_CHECKING:
    from benchmarks.backends.network import Call
    from benchmarks.latency.pipeline import Detections, InferencePipeline

TOLERANCES = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 1e-2, "bf16": 8e-2, "int8": 0.25}
"""By precision, as `Backend.precision` names it."""


def tolerance(backend: str, device: torch.device) -> float:
    """Return the allowed deviation of a backend. On a GPU fp32 may mean TF32, in eager too."""
    precision = find_backend(backend).precision
    # A row calls TF32 fp32, because torch does; its rounding is that of fp16.
    if precision == "fp32" and device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        precision = "tf32"
    return TOLERANCES[precision]


def largest_deviation(pipeline: InferencePipeline, call: Call, images: Sequence[Path]) -> tuple[float, str]:
    """Compare a backend's call with eager on each image.

    Returns:
        (deviation as defined above, the output and image that have it). The deviation is inf where an output has
        another number, shape, type or device, or is not finite.
    """
    student, network = pipeline.student, pipeline.network
    worst, place = 0.0, "nothing deviates"
    for path, batch in pipeline.single_image_batches(images):
        expected, actual = network.run(pipeline.eager, batch), network.run(call, batch)
        if (difference := _form_difference(expected, actual)) and network.nms == "out":
            return math.inf, f"{difference} on {path.name}"
        for article, outputs in (("eager", expected), ("an", actual)):
            if not all(bool(torch.isfinite(value).all()) for value in outputs if value.is_floating_point()):
                return math.inf, f"{article} output is not finite on {path.name}"
        if network.nms == "out":
            deviations = [deviation_of_maps(one, other) for one, other in zip(expected, actual, strict=True)]
            deviation = max(deviations)
            here = f"output {deviations.index(deviation)} of {path.name}"
        else:
            one, other = pipeline.post_process(expected, batch)[0], pipeline.post_process(actual, batch)[0]
            side = float(max(batch.samples[0].metainfo["ori_shape"]))
            threshold = student.score_threshold or 0.0
            deviation = deviation_of_detections(one, other, side, threshold, student.max_detections)
            here = f"detections of {path.name}"
        if deviation > worst:
            worst, place = deviation, f"most in {here}"
    return worst, place


def deviation_of_maps(expected: Tensor, actual: Tensor) -> float:
    """Return the largest difference of two maps of the same shape, relative to the largest eager value or 1."""
    if not expected.numel():
        return 0.0
    return float((expected - actual).abs().max() / expected.abs().max().clamp_min(1))


def deviation_of_detections(
    expected: Detections, actual: Detections, side: float, threshold: float = 0.0, limit: int = sys.maxsize
) -> float:
    """Return the largest deviation of a detection on either side from the closest on the other.

    Args:
        expected, actual: of one image.
        side: longer side of the image in px.
        threshold: detections with a lower score are dropped.
        limit: detections that are kept of an image. A detection is missing on the other side only because of these two,
            so a missing one deviates by its score above them.
    """
    one_way = _one_way(expected, actual, side, threshold, limit)
    return max(one_way, _one_way(actual, expected, side, threshold, limit))


def _one_way(some: Detections, others: Detections, side: float, threshold: float, limit: int) -> float:
    if not len(some.scores):
        return 0.0
    if len(others.scores) >= limit:
        # The other side kept only its best; a detection below the last of them is missing for that reason alone.
        threshold = max(threshold, float(others.scores.min()))
    if_missing = (some.scores - threshold).clamp_min(0)
    if not len(others.scores):
        return float(if_missing.max())
    corners = (some.boxes[:, None] - others.boxes[None]).abs().amax(-1) / side
    distance = torch.maximum(corners, (some.scores[:, None] - others.scores[None]).abs())
    # Another class is no match, however close the box is.
    distance = distance.masked_fill(some.labels[:, None] != others.labels[None], math.inf)
    return float(torch.minimum(distance.amin(1), if_missing).max())


def _form_difference(expected: Sequence[Tensor], actual: Sequence[Tensor]) -> str:
    """Describe how the outputs differ in number, shape, type or device; "" where they do not."""
    if len(expected) != len(actual):
        return f"{len(actual)} outputs, eager has {len(expected)}"
    for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
        if (one.shape, one.dtype, one.device) != (other.shape, other.dtype, other.device):
            return (
                f"output {index} is {tuple(other.shape)} {other.dtype} on {other.device}, "
                f"eager's {tuple(one.shape)} {one.dtype} on {one.device}"
            )
    return ""
