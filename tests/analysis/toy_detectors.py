"""Two made-up detectors on the same made-up images, as arrays, fast enough to be drawn hundreds of times."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from c2d.metrics.coco_data import Array, CocoData


def two_detectors(
    rng: np.random.Generator,
    images: int,
    *,
    classes: int = 3,
    jitter: tuple[float, float] = (0.08, 0.08),
    found: tuple[float, float] = (0.8, 0.8),
    together: float = 0.7,
    repeat: int = 0,
) -> tuple[CocoData, CocoData]:
    """Results of two detectors on `images` random images, about three objects each.

    jitter: how far their boxes are off, in box sizes. found: how often each sees an object. together: correlation of
    what makes an object hard for both. repeat: other detections on the same images, as of another seed. With equal
    settings the two are exchangeable: their AP in the population is equal.
    """
    # Classes become rarer, and images differ in how much they hold, as in real sets.
    many = rng.negative_binomial(2, 0.4, images)
    gt_image = np.repeat(np.arange(images), many)
    n = len(gt_image)
    share = 1.0 / np.arange(1, classes + 1)
    gt_class = rng.choice(classes, n, p=share / share.sum())
    size = rng.uniform(20, 120, (n, 2))
    gt_box = np.concatenate([rng.uniform(0, 400, (n, 2)), size], axis=1)
    hard, mood = rng.normal(size=n), rng.normal(size=images)
    truth: dict[str, Any] = {
        "image_ids": list(range(images)),
        "class_ids": list(range(classes)),
        "class_names": [f"class {k}" for k in range(classes)],
        "gt_image": gt_image,
        "gt_class": gt_class,
        "gt_box": gt_box,
        "gt_area": size.prod(axis=1),
        "gt_crowd": np.zeros(n, bool),
    }
    if repeat:
        rng = rng.spawn(repeat)[-1]
    first, second = (
        CocoData(**truth, **_detections(rng, truth, hard, mood, off, often, together))
        for off, often in zip(jitter, found, strict=True)
    )
    return first, second


def _detections(
    rng: np.random.Generator, truth: dict[str, Any], hard: Array, mood: Array, off: float, often: float, together: float
) -> dict[str, Any]:
    n, images, classes = len(hard), len(truth["image_ids"]), len(truth["class_ids"])
    effort = together**0.5 * hard + (1 - together) ** 0.5 * rng.normal(size=n)
    seen = np.flatnonzero(effort < ndtri(often))
    noise = rng.normal(size=(len(seen), 4)) * off * np.exp(0.3 * effort[seen])[:, None]
    box = truth["gt_box"][seen].copy()
    box[:, :2] += noise[:, :2] * box[:, 2:]
    box[:, 2:] *= np.exp(noise[:, 2:])
    score = 0.5 - effort[seen] + 0.5 * rng.normal(size=len(seen))
    wrong = rng.poisson(1.5 * np.exp(0.5 * mood - 0.125))  # some images provoke false positives in both
    fp_image = np.repeat(np.arange(images), wrong)
    m = len(fp_image)
    return {
        "dt_image": np.append(truth["gt_image"][seen], fp_image),
        "dt_class": np.append(truth["gt_class"][seen], rng.integers(0, classes, m)),
        "dt_box": np.concatenate([box, np.c_[rng.uniform(0, 400, (m, 2)), rng.uniform(20, 120, (m, 2))]]),
        "dt_score": np.append(score, rng.normal(size=m) - 0.5),
    }
