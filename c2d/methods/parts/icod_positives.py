"""Positives of one or several stages as one set, each with its share in the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from c2d.detectors.batch import Batch
from c2d.detectors.positives import Positives


@dataclass(frozen=True)
class Shared:
    """Positives with their share in the mean: share sums to 1 (per term), over K positives and over the stages.

    `truth` (K,) counts the ground truths of the whole batch, images one after the other.
    """

    logits: Tensor
    boxes: Tensor
    image: Tensor
    truth: Tensor
    kind: str
    share: Tensor
    share_cls: Tensor
    stages: tuple[int, ...]


def join(stages: Sequence[Positives], batch: Batch, normaliser: str) -> Shared:
    """Mean over the positives of each stage, then over the stages.

    normaliser: "exact" divides the class term by the number of positives, "per_image_floor" counts every image as one
    at least. The localisation terms are always divided by the number.
    """
    offsets = batch.offsets()
    counts = [sum(s.per_image) for s in stages]
    floored = [sum(max(n, 1) for n in s.per_image) for s in stages] if normaliser == "per_image_floor" else counts
    boxes = torch.cat([s.boxes for s in stages])

    def share(divisors: Sequence[int]) -> Tensor:
        each = [1 / (len(stages) * max(d, 1)) for d in divisors]
        return torch.cat([boxes.new_full((count,), value) for count, value in zip(counts, each, strict=True)])

    return Shared(
        logits=torch.cat([s.logits for s in stages]),
        boxes=boxes,
        image=torch.cat([s.image for s in stages]),
        truth=torch.cat([offsets[s.image] + s.gt for s in stages]),
        kind=stages[0].kind,
        share=share(counts),
        share_cls=share(floored),
        stages=tuple(counts),
    )


def subset(every: Shared, limit: int | None, generator: torch.Generator) -> Shared:
    """At most `limit` positives of each stage, drawn without replacement: an unbiased estimate of every mean."""
    if limit is None or max(every.stages) <= limit:
        return every
    rows, shares, first = [], [], 0
    for count in every.stages:
        drawn = torch.randperm(count, generator=generator)[:limit].sort().values
        rows.append(drawn + first)
        shares.append(torch.full((len(drawn),), 1 / (len(every.stages) * max(len(drawn), 1))))
        first += count
    row = torch.cat(rows).to(every.boxes.device)
    share = torch.cat(shares).to(every.share)
    return Shared(
        logits=every.logits[row],
        boxes=every.boxes[row],
        image=every.image[row],
        truth=every.truth[row],
        kind=every.kind,
        share=share,
        share_cls=share,
        stages=tuple(len(r) for r in rows),
    )
