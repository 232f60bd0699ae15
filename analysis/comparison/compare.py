"""Compare two checkpoints on the same images: two runs, or two files of detections of one ground truth."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from pathlib import Path
from typing import SupportsFloat, SupportsIndex

import numpy as np

from analysis.comparison.comparison import Change, Comparison
from analysis.comparison.flipped_objects import changed_images, flipped_objects, side_verdicts
from analysis.comparison.image_differences import image_differences
from analysis.comparison.sides import Pair, read_pair
from analysis.stats.bootstrap import FEW_IMAGES, FEWEST_RESAMPLES, RESAMPLES, check_images, interval_name
from c2d.core.errors import InputError
from c2d.metrics.box_verdicts import OBJECT_VERDICTS
from c2d.metrics.coco_data import CocoData
from c2d.metrics.scoring.box_form import box_form_warning
from c2d.metrics.tide import MANY_TIES, tie_share

MOST_RESAMPLES = 100_000
_FEW_DETECTED = 0.9
"""Share of the images with detections of one side on which the other has some, too; below, the sets may differ."""


def compare(
    a: Path | str,
    b: Path | str,
    *,
    targets: Path | str | None = None,
    runs: Path | str | None = None,
    iou: float = 0.5,
    score: float | None = None,
    samples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two checkpoints, b - a, on the same images, with intervals by a paired bootstrap over the images.

    Args:
        a, b: run (folder, id, or the beginning of one), or file of detections (COCO results, .json or .json.gz).
        targets: COCO ground truth of files of detections.
        runs: the store (default: C2D_RUNS, else ./runs).
        iou: from which an object is found, and of TIDE, 0.1 to 1.
        score: detections of a lower score do not count for flipped objects (default: for each side the score with its
            largest F1).
        samples: number of resamples of the images, at least 100.
        seed: of the resamples; the same seed gives the same numbers.

    Returns:
        Differences with intervals, flipped objects and changed images; `print(result.text())` shows them.

    Raises:
        InputError: no such run or file; runs of different data sets; files without ground truth, or that do not fit it;
            fewer than 8 images; no objects; a number outside its range.
    """
    samples, seed = _whole(samples, "samples"), _whole(seed, "seed")
    iou, score = _number(iou, "iou"), None if score is None else _number(score, "score")
    if not FEWEST_RESAMPLES <= samples <= MOST_RESAMPLES:
        raise InputError(f"{samples} resamples; allowed are {FEWEST_RESAMPLES} to {MOST_RESAMPLES:,}, 1000 are usual")
    if not 0.1 <= iou <= 1:
        raise InputError(f"IoU {iou:g}; allowed is 0.1 to 1, 0.5 is usual")
    if score is not None and not np.isfinite(score):
        raise InputError(f"score {score}; give a finite number, or none for the score with the largest F1")
    if seed < 0:
        raise InputError(f"seed {seed}; give a whole number from 0 on")
    return compare_pair(read_pair(a, b, targets, runs), iou=iou, score=score, samples=samples, seed=seed)


def _whole(value: SupportsIndex, name: str) -> int:
    """Return a whole number, also one of numpy, as Python's own: the JSON of a comparison has it."""
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}; give a whole number") from None


def _number(value: SupportsFloat, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r}; give a number") from None


def compare_pair(pair: Pair, *, iou: float, score: float | None, samples: int, seed: int) -> Comparison:
    """Compare two sides that are in memory; arguments and errors as in `compare`."""
    of_a, of_b = pair.data
    check_images(of_a)
    found = image_differences(of_a, of_b, iou, samples, seed)
    a, b = (side_verdicts(name, data, iou, score) for name, data in zip(pair.names, pair.data, strict=True))
    is_object = a.gt_verdict != OBJECT_VERDICTS.index("crowd")
    return Comparison(
        a=a.side,
        b=b.side,
        dataset=pair.dataset,
        images=len(of_a.image_ids),
        objects=int(is_object.sum()),
        classes=int((of_a.objects_per_class > 0).sum()),
        overall=found.overall,
        per_class=found.per_class,
        per_size=found.per_size,
        tide=found.tide,
        both=int((a.found & b.found).sum()),
        neither=int((is_object & ~a.found & ~b.found).sum()),
        flipped=flipped_objects(of_a, a, b, pair.file_names),
        changed=changed_images(of_a, a, b, pair.file_names),
        iou=iou,
        samples=samples,
        seed=seed,
        interval=interval_name(len(of_a.image_ids), samples),
        notes=tuple(_notes(pair, found.per_class)),
    )


def _notes(pair: Pair, per_class: tuple[Change, ...]) -> Iterator[str]:
    images = len(pair.data[0].image_ids)
    if images < FEW_IMAGES:
        yield (
            f"{images} images are few: the intervals cover less than 95 % below {FEW_IMAGES} images "
            "(docs/results/statistics.md)."
        )
    few = [one for one in per_class if one.reason and one.a is not None]
    if few:
        yield f"Classes without an interval, because they are in too few images: {len(few)} of {len(per_class)}."
    with_some = [set(np.unique(data.dt_image).tolist()) for data in pair.data]
    for mark, mine, other in (("A", with_some[0], with_some[1]), ("B", with_some[1], with_some[0])):
        if len(other) and len(mine & other) < _FEW_DETECTED * len(other):
            yield (
                f"{mark} has no detection on {len(other - mine)} of the {len(other)} images on which the other side "
                "has some. If it was not run on them, the comparison means nothing: give both the same images."
            )
    for mark, data in zip("AB", pair.data, strict=True):
        yield from _ties(mark, data)
        if form := box_form_warning(data):
            yield f"{mark}: {form}."


def _ties(mark: str, data: CocoData) -> Iterator[str]:
    share = tie_share(data)
    if share is not None and share > MANY_TIES:
        yield (
            f"{share:.0%} of the detections of {mark} share their score with another of their class; AP and TIDE then "
            "depend on the order of equal scores: store scores at full precision."
        )
