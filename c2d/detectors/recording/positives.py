"""Positives of a student's head for one batch, and the object that holds them until a step asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from c2d.detectors.batch import Batch
from c2d.detectors.heads import LogitKind

RoIStages = Literal["last", "all"]


@dataclass(frozen=True)
class Positives:
    """K positive samples (anchors, points or sampled RoIs) of a batch, images one after the other.

    Attributes:
        logits: (K, C), or (K, C + 1) with the background last; with the student's graph.
        boxes: (K, 4) fp32 xyxy, decoded predictions in px of the batch tensor, not clipped; with the graph.
        image: (K,) long.
        gt: (K,) long, index into `batch.boxes[image]`.
        kind: activation of the logits.
        per_image: number of positives of each image.
        prior: (K,) long, index among the dense head's flattened priors (`outputs.DenseOutputs`); None for RoI heads.
    """

    logits: Tensor
    boxes: Tensor
    image: Tensor
    gt: Tensor
    kind: LogitKind
    per_image: tuple[int, ...]
    prior: Tensor | None = None


class PositivesRecorder:
    """Records of the head in the last `student.loss`; created by `record_positives`."""

    def __init__(self) -> None:
        self.read: Callable[[], list[Positives]] | None = None

    def positives(self, batch: Batch) -> list[Positives]:
        """Return the positives of `batch`: one entry, or one per stage of a cascade recorded with roi_stages="all".

        Without any positive, K is 0 and `logits` and `boxes` are still attached to the student's graph.
        """
        if self.read is None:
            raise RuntimeError(
                "nothing was recorded: call student.loss(...) inside the `with record_positives(...)` block"
            )
        found = self.read()
        for entry in found:
            if len(entry.per_image) != len(batch.boxes):
                raise RuntimeError(f"recorded {len(entry.per_image)} images, but the batch has {len(batch.boxes)}")
        return found
