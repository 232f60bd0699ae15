"""Positives of one or several stages as one set, each with its weight in the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from c2d.detectors.batch import Batch
from c2d.detectors.recording.positives import Positives


@dataclass(frozen=True)
class WeightedPositives:
    """Positives of all stages with their weights in the mean.

    Attributes:
        logits: (K, C) of sigmoid heads, (K, C + 1) of softmax heads.
        boxes: (K, 4) predictions, xyxy px of the batch tensor.
        image: (K,) index in the batch.
        gt: (K,) row in `Batch.all_boxes()`.
        kind: how `logits` are read: softmax or sigmoid.
        weight: (K,) in the localisation terms; sums to 1, also over several stages.
        weight_cls: (K,) in the class term; sums to 1 with the normaliser "exact", to less with "per_image_floor".
        stages: number of positives of each stage.
    """

    logits: Tensor
    boxes: Tensor
    image: Tensor
    gt: Tensor
    kind: str
    weight: Tensor
    weight_cls: Tensor
    stages: tuple[int, ...]


def join_stages(stages: Sequence[Positives], batch: Batch, normaliser: str) -> WeightedPositives:
    """Concatenate stages for the mean over the positives of each stage, then over the stages.

    Args:
        stages: positives of each stage, (K_i, ...).
        batch: their ground truth.
        normaliser: divisor of the class term: "exact" is the number of positives, "per_image_floor" counts every image
            as one at least. The localisation terms are always divided by the number.
    """
    offsets = batch.offsets()
    counts = [sum(s.per_image) for s in stages]
    # The SSD code's avg_factor: an image without positives counts as one.
    floored = [sum(max(n, 1) for n in s.per_image) for s in stages] if normaliser == "per_image_floor" else counts
    boxes = torch.cat([s.boxes for s in stages])

    def weights(divisors: Sequence[int]) -> Tensor:
        each = [1 / (len(stages) * max(d, 1)) for d in divisors]
        return torch.cat([boxes.new_full((count,), value) for count, value in zip(counts, each, strict=True)])

    return WeightedPositives(
        logits=torch.cat([s.logits for s in stages]),
        boxes=boxes,
        image=torch.cat([s.image for s in stages]),
        gt=torch.cat([offsets[s.image] + s.gt for s in stages]),
        kind=stages[0].kind,
        weight=weights(counts),
        weight_cls=weights(floored),
        stages=tuple(counts),
    )


def random_subset(positives: WeightedPositives, limit: int | None, generator: torch.Generator) -> WeightedPositives:
    """Draw at most `limit` positives of each stage without replacement: an unbiased estimate of every mean."""
    if limit is None or max(positives.stages) <= limit:
        return positives
    rows, weights, first = [], [], 0
    for count in positives.stages:
        # On the CPU, where the generator is: the subset does not depend on the device.
        drawn = torch.randperm(count, generator=generator)[:limit].sort().values
        rows.append(drawn + first)
        weights.append(torch.full((len(drawn),), 1 / (len(positives.stages) * max(len(drawn), 1))))
        first += count
    row = torch.cat(rows).to(positives.boxes.device)
    weight = torch.cat(weights).to(positives.weight)
    return WeightedPositives(
        logits=positives.logits[row],
        boxes=positives.boxes[row],
        image=positives.image[row],
        gt=positives.gt[row],
        kind=positives.kind,
        weight=weight,
        weight_cls=weight,
        stages=tuple(len(r) for r in rows),
    )
