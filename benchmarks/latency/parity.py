"""Is an artefact the student that it claims to be: its outputs beside eager's on real images, and its own AP.

**Deviation.** Where NMS is outside the network, that of the raw maps: the largest absolute difference in a map, over
the map's largest eager value (over 1, where that is smaller). Where the network holds NMS, proposals may come in
another order, so detections are compared: each one's score and box with the closest of the same class on the other side
(differences of score, and of corners over the longer side of the image), or with none (its score above the threshold).

**Tolerance.** A multiple of the rounding of one operation, 2^-24 of a value in fp32, 2^-11 in TF32 and fp16, 2^-8 in
bf16. A network adds up thousands of such roundings, in another order in every library; of trained students with some 30
layers we saw 25 of them in fp32 and 2 in the others, so 1e-4 leaves room for deeper ones; it moves a logit of 10 by
0.001, and its score by 0.00025 at most. int8 has no such bound; 0.25 finds what is broken, the AP says what is lost.
What the tolerance cannot see is a change in a map that hardly varies around a large bias, as an untrained student's do.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from c2d.core.errors import InputError, first_line

if TYPE_CHECKING:
    from benchmarks.backends import Call
    from benchmarks.latency.student import Batch, Detections, Subject

TOLERANCES = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 1e-2, "bf16": 8e-2, "int8": 0.25}
"""By precision, as `Backend.precision` names it."""
AP_LIMIT_S = 600.0
"""Seconds that the AP of one artefact may take; one that would take longer has none."""


def examine(
    subject: Subject,
    name: str,
    call: Call,
    images: Sequence[Path],
    validation: Sequence[Path] | None = None,
    ap_limit_s: float = AP_LIMIT_S,
) -> dict[str, Any]:
    """Compare one artefact with eager, and evaluate it.

    Args:
        name: of its backend, which says the precision.
        images: files on which outputs are compared.
        validation: files on which the AP is taken; None: all of the config's test data set.

    Returns:
        max_deviation: see above; inf where an output has another form or is not finite. tolerance: what is allowed.
        equal: whether it is within. AP: in 0-1, of exactly this call through the student's own post-processing; None
        where it could not be taken, and the note says why. note: one line.
    """
    allowed = tolerance(name, subject.device)
    notes: list[str] = []
    begun = time.monotonic()
    try:
        worst, where = compare(subject, call, images)
    except Exception as error:  # a library's own error, from inside its call
        told = f"it fails on a real image: {type(error).__name__}: {first_line(error)}"
        return {"max_deviation": math.inf, "tolerance": allowed, "equal": False, "AP": None, "note": told}
    equal = worst <= allowed
    if not equal:
        notes.append(where)
    ap = None
    if math.isfinite(worst):
        per_image_s = (time.monotonic() - begun) / max(1, len(images))
        try:
            paths = subject.images(len(subject.dataset)) if validation is None else list(validation)
            if per_image_s * len(paths) > ap_limit_s:
                notes.append(f"AP not taken: {len(paths)} images at {per_image_s:.1f} s each")
            else:
                ap = average_precision(subject, call, paths)
        except (InputError, OSError) as error:
            notes.append(f"AP not taken: {first_line(error)}")
    return {"max_deviation": worst, "tolerance": allowed, "equal": equal, "AP": ap, "note": "; ".join(notes)}


def tolerance(name: str, device: torch.device) -> float:
    """Of a backend on a device: on a GPU fp32 may mean TF32, in eager as elsewhere."""
    from benchmarks.backends import find

    precision = find(name).precision
    if precision == "fp32" and device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        precision = "tf32"
    return TOLERANCES[precision]


def compare(subject: Subject, call: Call, images: Sequence[Path]) -> tuple[float, str]:
    """(largest deviation over the images, where it is in words)."""
    worst, where = 0.0, "nothing deviates"
    for path, batch in _batches(subject, images):
        expected, found = subject.run(subject.model, batch), subject.run(call, batch)
        if (wrong := _other_form(expected, found)) and subject.network.nms == "out":
            return math.inf, f"{wrong} on {path.name}"
        for who, outputs in (("eager", expected), ("an", found)):
            if not all(bool(torch.isfinite(value).all()) for value in outputs if value.is_floating_point()):
                return math.inf, f"{who} output is not finite on {path.name}"
        if subject.network.nms == "out":
            numbers = [of_maps(one, other) for one, other in zip(expected, found, strict=True)]
            deviation = max(numbers)
            place = f"output {numbers.index(deviation)} of {path.name}"
        else:
            one, other = subject.post(expected, batch)[0], subject.post(found, batch)[0]
            side = float(max(batch.samples[0].metainfo["ori_shape"]))
            deviation = of_detections(one, other, side, subject.score_threshold or 0.0, _most(subject))
            place = f"detections of {path.name}"
        if deviation > worst:
            worst, where = deviation, f"most in {place}"
    return worst, where


def of_maps(expected: Tensor, found: Tensor) -> float:
    """Largest absolute difference, over the largest eager value or 1."""
    if not expected.numel():
        return 0.0
    return float((expected - found).abs().max() / expected.abs().max().clamp_min(1))


def of_detections(
    expected: Detections, found: Detections, side: float, threshold: float = 0.0, most: int = sys.maxsize
) -> float:
    """Largest deviation of a detection on either side from the closest on the other.

    Args:
        side: longer side of the image in pixels. threshold, most: a detection with a lower score, or that comes after
            `most` others, is absent; so absence costs a score what it is above that.
    """
    return max(_one_way(expected, found, side, threshold, most), _one_way(found, expected, side, threshold, most))


def _one_way(some: Detections, others: Detections, side: float, threshold: float, most: int) -> float:
    if not len(some.scores):
        return 0.0
    if len(others.scores) >= most:
        threshold = max(threshold, float(others.scores.min()))
    absent = (some.scores - threshold).clamp_min(0)
    if not len(others.scores):
        return float(absent.max())
    corners = (some.boxes[:, None] - others.boxes[None]).abs().amax(-1) / side
    distance = torch.maximum(corners, (some.scores[:, None] - others.scores[None]).abs())
    distance = distance.masked_fill(some.labels[:, None] != others.labels[None], math.inf)
    return float(torch.minimum(distance.amin(1), absent).max())


def average_precision(subject: Subject, call: Call, paths: Sequence[Path]) -> float | None:
    """AP in 0-1 of what `call` detects on these images of the config's test data set, one at a time, as in evaluation.

    Raises:
        InputError: an image that is not in the data set, or no ground truth.
    """
    from c2d.metrics import coco
    from c2d.metrics.coco_data import prepare

    dataset = subject.dataset
    facts = [dataset.get_data_info(index) for index in range(len(dataset))]
    ids = {os.path.abspath(one["img_path"]): one["img_id"] for one in facts}
    detections: list[dict[str, Any]] = []
    seen = []
    for path, batch in _batches(subject, paths):
        image = ids.get(os.path.abspath(path))
        if image is None:
            raise InputError(f"{path} is no image of the config's test data set")
        seen.append(image)
        (found,) = subject.post(subject.run(call, batch), batch)
        corners = found.boxes.double()
        boxes = torch.cat([corners[:, :2], (corners[:, 2:] - corners[:, :2]).clamp_min(0)], dim=1)
        rows = zip(boxes.tolist(), found.scores.double().tolist(), found.labels.tolist(), strict=True)
        detections += [
            {"image_id": image, "category_id": dataset.cat_ids[label], "bbox": box, "score": score}
            for box, score, label in rows
        ]
    value = coco.evaluate(prepare(_targets(subject, set(seen)), detections))["AP"]
    return None if value is None else float(value)


def _targets(subject: Subject, images: set[Any]) -> dict[str, Any]:
    """Ground truth of some images, of the classes that the student knows."""
    dataset = subject.dataset
    with open(dataset.ann_file, encoding="utf-8") as file:
        full = json.load(file)
    known = set(dataset.cat_ids)
    return {
        "images": [one for one in full["images"] if one["id"] in images],
        "annotations": [
            {key: box[key] for key in ("id", "image_id", "category_id", "bbox", "area", "iscrowd") if key in box}
            for box in full.get("annotations", [])
            if box["image_id"] in images and box["category_id"] in known
        ],
        "categories": [one for one in full["categories"] if one["id"] in known],
    }


def _most(subject: Subject) -> int:
    """Detections that the student keeps of an image."""
    config = subject.detector.test_cfg or {}
    most = (config.get("rcnn") or config).get("max_per_img", -1)
    return int(most) if most > 0 else sys.maxsize


def _batches(subject: Subject, paths: Sequence[Path]) -> Iterator[tuple[Path, Batch]]:
    """Batches of one image: what pads an image to its neighbours' size changes it."""
    for path in paths:
        yield path, subject.to_device(subject.preprocess(subject.read([path])))


def _other_form(expected: Sequence[Tensor], found: Sequence[Tensor]) -> str:
    """How the outputs differ in number, shape, type or device; "" where they do not."""
    if len(expected) != len(found):
        return f"{len(found)} outputs, eager has {len(expected)}"
    for index, (one, other) in enumerate(zip(expected, found, strict=True)):
        if (one.shape, one.dtype, one.device) != (other.shape, other.dtype, other.device):
            return (
                f"output {index} is {tuple(other.shape)} {other.dtype} on {other.device}, "
                f"eager's {tuple(one.shape)} {one.dtype} on {one.device}"
            )
    return ""
