"""Instances of GKD, and how far student and teacher agree on them: cosines to the prototypes, and omega."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.detectors.batch import Batch
from c2d.detectors.outputs import RoIOutputs
from c2d.detectors.recording.anchors import Priors
from c2d.detectors.recording.positives import Positives


class Instances(NamedTuple):
    """Boxes (N, 4) xyxy px, their image (N,) and class (N,)."""

    boxes: Tensor
    image: Tensor
    labels: Tensor


class Comparison(NamedTuple):
    """Instances against the prototypes, one entry per level.

    Attributes:
        cos_s, cos_t: (N, P) cosines of the student's and the teacher's vectors to the prototypes of all classes.
        omega: (N,) in [0, 1], without a graph.
    """

    cos_s: list[Tensor]
    cos_t: list[Tensor]
    omega: list[Tensor]


def ground_truths(batch: Batch) -> Instances:
    """Return all ground-truth boxes of a batch."""
    return Instances(*batch.all_boxes(), torch.cat(batch.labels))


def positive_rois(sampled: RoIOutputs) -> Instances:
    """Return the positive RoIs of a two-stage student, with the class of their ground truth."""
    rois = sampled.rois[sampled.positive]
    return Instances(rois[:, 1:], rois[:, 0].long(), sampled.labels[sampled.positive])


def positive_priors(batch: Batch, assigned: Positives, priors: Priors, maps: Sequence[Tensor]) -> Instances:
    """Return the positive anchors of a one-stage student (points as squares), with the class of their ground truth.

    Args:
        batch: the training batch.
        assigned: the student's positives.
        priors: of its dense head.
        maps: what the head sees, per level (B, M, h, w).
    """
    anchors = torch.cat(priors.anchors([(m.shape[-2], m.shape[-1]) for m in maps], assigned.image.device))
    labels = torch.cat(batch.labels)[batch.offsets()[assigned.image] + assigned.gt]
    return Instances(anchors[assigned.prior], assigned.image, labels)


def compare(
    student: Sequence[Tensor], teacher: Sequence[Tensor], table_s: Sequence[Tensor], table_t: Sequence[Tensor],
    own: Tensor,
) -> Comparison:  # fmt: skip
    """Compare instances with prototypes, level by level.

    Args:
        student, teacher: per level vectors (N, M_s) and (N, M_t).
        table_s, table_t: per level prototypes (P, M_s) and (P, M_t).
        own: (N, P) bool: prototypes of the row's class.
    """
    cos_s, cos_t = ([cosine(rows, table) for rows, table in zip(*of, strict=True)]
                    for of in ((student, table_s), (teacher, table_t)))  # fmt: skip
    return Comparison(cos_s, cos_t, [reliability(s, t, own) for s, t in zip(cos_s, cos_t, strict=True)])


def cosine(vectors: Tensor, table: Tensor) -> Tensor:
    """Compute the cosines (N, P) of vectors (N, M) to prototypes (P, M)."""
    return F.normalize(vectors, dim=1) @ F.normalize(table, dim=1).T


def reliability(cos_s: Tensor, cos_t: Tensor, own: Tensor) -> Tensor:
    """Compute omega of each instance, without a graph; 1 for a class without prototypes.

    Args:
        cos_s, cos_t: (N, P), see `cosine`.
        own: (N, P) bool: prototypes of the row's class.

    Returns:
        (N,) in [0, 1].
    """
    best_s, best_t = (cos.detach().masked_fill(~own, -torch.inf).amax(1) for cos in (cos_s, cos_t))
    # Without a prototype the difference is -inf - -inf = NaN; where() drops it, and no gradient passes here.
    return torch.where(own.any(1), 1 - (best_s - best_t).abs(), 1).clamp(min=0)


def pick_level(per_level: Sequence[Tensor], level: Tensor) -> Tensor:
    """Pick each instance's row from the level that is its own.

    Args:
        per_level: per level (N, ...).
        level: (N,) long.

    Returns:
        (N, ...).
    """
    return torch.stack(list(per_level))[level, torch.arange(len(level), device=level.device)]
