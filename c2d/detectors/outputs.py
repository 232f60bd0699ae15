"""Outputs of one detector for one batch: feature maps, raw head outputs, RoI predictions. Plain tensors in fp32."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from c2d.detectors.heads import LogitKind, gather_entries


@dataclass(frozen=True)
class Needs:
    """The outputs that a method uses. The teacher runs once for all methods, and only as deep as the deepest of them.

    Attributes:
        positives: the student's positives (see `c2d.detectors.recording.record_positives`).
        neck: the neck's maps of student and teacher; without a neck, the backbone's.
        backbone: the backbone's maps of both.
        dense: raw outputs of both dense heads; of two-stage detectors, their RPNs'.
        towers: the maps in the classification and regression towers of the student's dense head, and the last ones in
            those of the teacher's, which it predicts from.
        rois: both second stages on the RoIs that the student sampled.
        proposals: both second stages on RoIs sampled from the teacher's proposals.
        queries: the decoder layers of both, where predictions belong to object queries (the DETR family).
    """

    positives: bool = False
    neck: bool = False
    backbone: bool = False
    dense: bool = False
    rois: bool = False
    proposals: bool = False
    queries: bool = False
    towers: bool = False

    def __or__(self, other: Needs) -> Needs:
        return Needs(*(getattr(self, name) or getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def detector(self) -> bool:
        """Whether a detector teacher has to run."""
        return self != Needs() and self != Needs(positives=True)


@dataclass(frozen=True)
class DenseOutputs:
    """Raw outputs of a dense head, finest level first, A priors a cell.

    N is the number of priors of all levels, in the order level, row, column, prior of the cell; `prior` indexes it.

    Attributes:
        scores: per level (B, A * C, h, w) logits, A-major; of an RPN C = 1 (objectness).
        deltas: per level (B, A * D, h, w), as the head encodes boxes: deltas, distances in strides (FCOS with
            norm_on_bbox) or px, or the logits of D = 4 * bins edge distributions (GFL).
        classes: C (C + 1 for softmax heads, background last).
        kind: activation of the logits.
        strides: px per cell of each level.
    """

    scores: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]
    classes: int
    kind: LogitKind
    strides: tuple[int, ...]

    def gather_scores(self, image: Tensor, prior: Tensor) -> Tensor:
        """Return the logits (K, C) of single priors, without a copy of the maps.

        Args:
            image: (K,) long.
            prior: (K,) long, in 0..N-1.
        """
        return _gather(self.scores, self._priors_per_cell(), image, prior)

    def gather_deltas(self, image: Tensor, prior: Tensor) -> Tensor:
        """Return the deltas (K, D) of single priors; arguments as in `gather_scores`."""
        return _gather(self.deltas, self._priors_per_cell(), image, prior)

    def flat_deltas(self) -> Tensor:
        """Return all deltas as one tensor (B, N, D)."""
        width = [d.shape[1] // a for d, a in zip(self.deltas, self._priors_per_cell(), strict=True)]
        flat = [d.permute(0, 2, 3, 1).reshape(len(d), -1, w) for d, w in zip(self.deltas, width, strict=True)]
        return torch.cat(flat, dim=1)

    def select(self, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores, deltas and strides of the priors in a mask, level by level.

        The maps are read in place, because flat copies of the finest levels are large.

        Args:
            mask: (B, N) bool.

        Returns:
            Scores (K, C), deltas (K, D) and strides (K,) in px per cell.
        """
        per_cell = self._priors_per_cell()
        counts = [a * s.shape[2] * s.shape[3] for a, s in zip(per_cell, self.scores, strict=True)]
        parts = []
        for level, part in enumerate(mask.split(counts, 1)):
            (image, prior), deltas = part.nonzero(as_tuple=True), self.deltas[level]
            scores = gather_entries(self.scores[level], image, prior, self.classes)
            stride = deltas.new_full((len(prior),), self.strides[level])
            parts.append((scores, gather_entries(deltas, image, prior, deltas.shape[1] // per_cell[level]), stride))
        scores, deltas, stride = (torch.cat(column) for column in zip(*parts, strict=True))
        return scores, deltas, stride

    def _priors_per_cell(self) -> list[int]:
        return [s.shape[1] // self.classes for s in self.scores]


@dataclass(frozen=True)
class HeadTowers:
    """Maps in the two towers of a dense head, which has n stacked convolutions in each.

    Attributes:
        classification, regression: f_0, what the tower is given, to f_n, what its last convolution predicts from; of a
            teacher f_n alone. Of each f_i one map (B, M, h, w) per level, finest first.
    """

    classification: tuple[tuple[Tensor, ...], ...]
    regression: tuple[tuple[Tensor, ...], ...]


@dataclass(frozen=True)
class RoIOutputs:
    """Predictions of a second stage for R RoIs; rows of an image are its positives, then its negatives.

    Attributes:
        rois: (R, 5): index of the image, then xyxy in px of the batch tensor.
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
        """(R,) bool: RoIs with a ground truth."""
        return self.gt >= 0

    def class_deltas(self, labels: Tensor) -> Tensor:
        """Return the deltas (R, 4) of each row's class, labels (R,); of background rows, those of the last class."""
        if self.agnostic:
            return self.deltas
        rows = self.deltas.unflatten(1, (-1, 4))
        index = labels.clamp(max=rows.shape[1] - 1)
        return rows.gather(1, index[:, None, None].expand(-1, 1, 4)).squeeze(1)


@dataclass(frozen=True)
class QueryOutputs:
    """Predictions of the L decoder layers of a DETR-like detector for its Q matching queries; denoising queries apart.

    Attributes:
        logits: (L, B, Q, C) sigmoid, or (L, B, Q, C + 1) softmax logits with the background last.
        boxes: (L, B, Q, 4) fp32 xyxy, px of the batch tensor, not clipped.
        features: (L, B, Q, M) outputs of the decoder layers.
        gt: (L, B, Q) long: index of the matched ground truth inside its image, -1 where none is; of a detector that
            computes no loss (a teacher), None.
        kind: activation of the logits.
    """

    logits: Tensor
    boxes: Tensor
    features: Tensor
    gt: Tensor | None
    kind: LogitKind


@dataclass(frozen=True)
class DetectorOutputs:
    """Outputs of one detector; the parts that no method needs are empty.

    Attributes:
        neck, backbone: maps (B, M, h, w), in the order of the modules; `pair_levels` pairs them finest first.
        dense: raw outputs of the dense head.
        rois: second stage on the RoIs that the student sampled.
        proposals: second stage on RoIs sampled from the teacher's proposals.
        queries: decoder layers on the matching queries.
        towers: maps in the two towers of the dense head.
    """

    neck: tuple[Tensor, ...] = ()
    backbone: tuple[Tensor, ...] = ()
    dense: DenseOutputs | None = None
    rois: RoIOutputs | None = None
    proposals: RoIOutputs | None = None
    queries: QueryOutputs | None = None
    towers: HeadTowers | None = None

    def with_rois(self, rois: RoIOutputs | None, proposals: RoIOutputs | None) -> DetectorOutputs:
        """Return a copy with the second stage's outputs, which are computed last."""
        return replace(self, rois=rois, proposals=proposals)


def _gather(maps: tuple[Tensor, ...], per_cell: list[int], image: Tensor, prior: Tensor) -> Tensor:
    """Entries of flat priors over all levels: every level is read at a clamped index, the right one is kept."""
    width, before = maps[0].shape[1] // per_cell[0], 0
    result = maps[0].new_zeros(len(prior), width)
    for level, priors in zip(maps, per_cell, strict=True):
        count = level.shape[2] * level.shape[3] * priors
        on_level = (prior >= before) & (prior < before + count)
        row = gather_entries(level, image, (prior - before).clamp(0, count - 1), width)
        result, before = torch.where(on_level[:, None], row, result), before + count
    return result
