"""Pseudo-targets: boxes, labels and soft labels of objects that no image shows yet, sampled from a detector alone.

Only the abstract of Multi-Object Impressions (BMVC 2021) is known to us, so the sampler is ours: the number of objects
is uniform, classes are balanced, boxes follow the teacher's anchors, soft labels follow the similarity of its class
weights as in Zero-Shot Knowledge Distillation (ICML 2019).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from c2d.core.errors import InputError
from c2d.impressions.sampling.box_prior import BoxPrior, box_prior
from c2d.impressions.sampling.class_similarity import class_similarity
from c2d.impressions.sampling.targets import Targets
from c2d.specs.impressions_schedule import TargetRecipe
from c2d.teachers.detector import DetectorTeacher

Floats = NDArray[np.float64]
TRIES = 100
"""Draws of one box; the image gets one object fewer when all of them overlap an earlier box."""
SMALLEST_CONCENTRATION = 1e-2
"""Of the least similar class, whose similarity is 0: a Dirichlet distribution has none at 0."""
_OBJECTS, _SOFT_LABELS, _LABELS = range(3)  # streams of random numbers


def sample_targets(
    recipe: TargetRecipe, count: int, teacher: DetectorTeacher, size_px: int, seed: int
) -> list[Targets]:
    """Sample the targets of images 0..count-1. The first of them are the same for every `count`.

    Labels come in shuffled blocks, each with every class once: over the whole set the numbers of two classes differ by
    1 at most, and the objects of one image mostly have different classes.

    Args:
        recipe: what to sample.
        count: number of images.
        teacher: whose anchors and class weights are read.
        size_px: side of the square images; anchors are in px.
        seed: of the whole set; image i uses numbers of (seed, i).

    Returns:
        Per image its targets, on the CPU.

    Raises:
        InputError: the detector has no number of classes, or see `box_prior` and `class_similarity`.
    """
    classes = teacher.num_classes
    if classes is None:
        raise InputError(
            f"the number of classes of {type(teacher.network).__name__} is unknown, so no targets can be sampled; "
            "choose a teacher of a supported family"
        )
    prior = box_prior(teacher.network, size_px) if recipe.boxes == "anchors" else None
    alpha = recipe.concentration * class_similarity(teacher.network).numpy() if recipe.soft_labels else None
    targets: list[Targets] = []
    objects = 0
    for image in range(count):
        boxes = _sample_boxes(recipe, prior, default_rng([seed, _OBJECTS, image]))
        labels = balanced_labels(objects, len(boxes), classes, seed)
        objects += len(boxes)
        if alpha is None:
            soft = np.eye(classes)[labels]
        else:
            soft = _draw_soft_labels(labels, alpha, default_rng([seed, _SOFT_LABELS, image]))
        corners = torch.from_numpy(boxes).float().clamp(0, 1)
        targets.append(Targets(corners, torch.from_numpy(labels), torch.from_numpy(soft).float()))
    return targets


def balanced_labels(first: int, count: int, classes: int, seed: int) -> NDArray[np.int64]:
    """Return the labels of objects first..first+count-1 of the whole set; each block of C objects has every class once.

    Args:
        first: index of the first object in the whole set.
        count: number of objects.
        classes: number of classes C.
        seed: of the whole set.

    Returns:
        (count,) int64, 0..C-1.
    """
    blocks = range(first // classes, -(-(first + count) // classes))
    labels = [default_rng([seed, _LABELS, block]).permutation(classes) for block in blocks]
    start = first % classes
    return np.concatenate([np.zeros(0, np.int64), *labels])[start : start + count].astype(np.int64)


def _sample_boxes(recipe: TargetRecipe, prior: BoxPrior | None, random: Generator) -> Floats:
    """Return (G, 4) xyxy in 0..1, of which no two overlap by more than `max_iou`."""
    boxes = np.zeros((0, 4))
    for _ in range(random.integers(recipe.objects[0], recipe.objects[1], endpoint=True)):
        for _ in range(TRIES):
            sides = _sample_sides(recipe, prior, random)
            corner = random.uniform(0, 1 - sides)
            box = np.concatenate([corner, corner + sides])
            if not (_iou(boxes, box) > recipe.max_iou).any():
                boxes = np.vstack([boxes, box])
                break
    return boxes


def _sample_sides(recipe: TargetRecipe, prior: BoxPrior | None, random: Generator) -> Floats:
    """Return (2,) width and height: uniform, or log-uniform in area and aspect ratio, and then clipped."""
    if prior is None:
        return random.uniform(*recipe.side, size=2)
    # The range is clipped before the draw, so that few boxes lie on the limit itself.
    side = np.exp(random.uniform(*np.log(np.clip(prior.side, *recipe.side))))
    stretch = np.exp(random.uniform(*np.log(prior.ratio)) / 2)
    return np.clip([side * stretch, side / stretch], *recipe.side)


def _draw_soft_labels(labels: NDArray[np.int64], alpha: Floats, random: Generator) -> Floats:
    """Draw Dirichlet distributions (G, C) whose largest entry is the label.

    Where another entry is the largest, the two are exchanged. To draw again until it fits may take very long: with
    many similar classes the label is rarely the largest.

    Args:
        labels: (G,).
        alpha: (C, C) concentration, a row for each label.
        random: generator.
    """
    soft = np.zeros((len(labels), alpha.shape[1]))
    for row, label in zip(soft, labels, strict=True):
        row[:] = random.dirichlet(np.maximum(alpha[label], SMALLEST_CONCENTRATION))
        largest = row.argmax()
        row[label], row[largest] = row[largest], row[label]
    return soft


def _iou(boxes: Floats, box: Floats) -> Floats:
    """Return the IoU (G,) of boxes (G, 4) with one box (4,), all xyxy."""
    overlap = (np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])).clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return overlap / (areas + (box[2:] - box[:2]).prod() - overlap)
