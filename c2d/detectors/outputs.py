"""What a detector computed for one batch: feature maps, raw head outputs, RoI predictions. Plain tensors in fp32."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from c2d.detectors.heads import Kind, entries


@dataclass(frozen=True)
class Needs:
    """What a method looks at. The teacher runs only as deep as the deepest of it, and once for all methods.

    Attributes:
        positives: the student's positives (see `c2d.detectors.positives`).
        neck: the neck's maps of student and teacher; without a neck, the backbone's.
        backbone: the backbone's maps of both.
        dense: raw outputs of both dense heads; of two-stage detectors, their RPNs'.
        rois: both second stages on the RoIs that the student sampled.
        proposals: both second stages on RoIs sampled from the teacher's proposals.
    """

    positives: bool = False
    neck: bool = False
    backbone: bool = False
    dense: bool = False
    rois: bool = False
    proposals: bool = False

    def __or__(self, other: Needs) -> Needs:
        return Needs(*(getattr(self, name) or getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def detector(self) -> bool:
        """Whether any of it is the detector teacher's."""
        return self != Needs() and self != Needs(positives=True)


@dataclass(frozen=True)
class DenseOutputs:
    """Raw outputs of a dense head, finest level first, A priors a cell.

    Attributes:
        scores: per level (B, A * C, h, w) logits, A-major; of an RPN C = 1 (objectness).
        deltas: per level (B, A * D, h, w), as the head writes boxes: deltas, distances in strides (FCOS with
            norm_on_bbox) or pixels, or the logits of D = 4 * bins edge distributions (GFL).
        classes: C (C + 1 for softmax heads, background last).
        kind: how the logits are read.
        strides: px per cell of each level.
    """

    scores: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]
    classes: int
    kind: Kind
    strides: tuple[int, ...]

    def flat_scores(self) -> Tensor:
        """(B, N, C): all priors of all levels, in the order of the head's anchors."""
        return _flat(self.scores, [self.classes] * len(self.scores))

    def scores_of(self, image: Tensor, prior: Tensor) -> Tensor:
        """(K, C): logits of single priors, without a copy of the maps.

        Args:
            image: (K,) long.
            prior: (K,) long, place in `flat_scores()[image]`.
        """
        return _entries(self.scores, [s.shape[1] // self.classes for s in self.scores], image, prior)

    def deltas_of(self, image: Tensor, prior: Tensor) -> Tensor:
        """(K, D) in the same way."""
        return _entries(self.deltas, [s.shape[1] // self.classes for s in self.scores], image, prior)

    def flat_deltas(self) -> Tensor:
        """(B, N, D) in the same order."""
        per_prior = [d.shape[1] * self.classes // s.shape[1] for s, d in zip(self.scores, self.deltas, strict=True)]
        return _flat(self.deltas, per_prior)

    def picked(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (K, C), deltas (K, D) and strides (K,) of the priors chosen by (B, N) bool, level by level.

        Reads them in place: flat copies of the finest levels are large.
        """
        per_cell = [s.shape[1] // self.classes for s in self.scores]
        counts = [a * s.shape[2] * s.shape[3] for a, s in zip(per_cell, self.scores, strict=True)]
        found = []
        for level, part in enumerate(chosen.split(counts, 1)):
            (image, prior), deltas = part.nonzero(as_tuple=True), self.deltas[level]
            scores = entries(self.scores[level], image, prior, self.classes)
            stride = deltas.new_full((len(prior),), self.strides[level])
            found.append((scores, entries(deltas, image, prior, deltas.shape[1] // per_cell[level]), stride))
        scores, deltas, stride = (torch.cat(parts) for parts in zip(*found, strict=True))
        return scores, deltas, stride


@dataclass(frozen=True)
class RoIOutputs:
    """Predictions of a second stage for R RoIs; rows of an image are its positives, then its negatives.

    Attributes:
        rois: (R, 5): number of the image, then xyxy in pixels of the batch tensor.
        logits: (R, C + 1), background last.
        deltas: (R, 4) or, class-specific, (R, 4 C).
        features: (R, M, s, s) RoI-aligned maps.
        labels: (R,) long; C is background.
        gt: (R,) long: index of the assigned ground truth inside its image, -1 for background.
        agnostic: whether the deltas are shared by all classes.
    """

    rois: Tensor
    logits: Tensor
    deltas: Tensor
    features: Tensor
    labels: Tensor
    gt: Tensor
    agnostic: bool

    @property
    def positive(self) -> Tensor:
        """(R,) bool."""
        return self.gt >= 0

    def deltas_of(self, labels: Tensor) -> Tensor:
        """(R, 4): the deltas of each row's class; of background rows, those of class 0."""
        if self.agnostic:
            return self.deltas
        rows = self.deltas.unflatten(1, (-1, 4))
        picked = labels.clamp(max=rows.shape[1] - 1)
        return rows.gather(1, picked[:, None, None].expand(-1, 1, 4)).squeeze(1)


@dataclass(frozen=True)
class DetectorOutputs:
    """What one detector computed; parts that no method needs are empty."""

    neck: tuple[Tensor, ...] = ()
    backbone: tuple[Tensor, ...] = ()
    dense: DenseOutputs | None = None
    rois: RoIOutputs | None = None
    proposals: RoIOutputs | None = None

    def with_rois(self, rois: RoIOutputs | None, proposals: RoIOutputs | None) -> DetectorOutputs:
        """The same with the second stage's part, which is computed last."""
        return replace(self, rois=rois, proposals=proposals)


def _entries(maps: tuple[Tensor, ...], per_cell: list[int], image: Tensor, prior: Tensor) -> Tensor:
    width, before = maps[0].shape[1] // per_cell[0], 0
    found = maps[0].new_zeros(len(prior), width)
    for level, priors in zip(maps, per_cell, strict=True):
        count = level.shape[2] * level.shape[3] * priors
        here = (prior >= before) & (prior < before + count)
        row = entries(level, image, (prior - before).clamp(0, count - 1), width)
        found, before = torch.where(here[:, None], row, found), before + count
    return found


def _flat(maps: tuple[Tensor, ...], width: list[int]) -> Tensor:
    return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, w) for m, w in zip(maps, width, strict=True)], dim=1)
