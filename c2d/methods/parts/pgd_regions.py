"""Key predictive regions of PGD: which cells the teacher finds an object from, and how much each of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from c2d.detectors.batch import Batch
from c2d.detectors.outputs import DenseOutputs
from c2d.detectors.recording.anchors import Priors, points_inside
from c2d.ops.boxes import broadcast_iou

VARIANCE_PX = 0.01
"""Added to both variances in px^2, so that the Gaussian of locations on one line is defined."""


class Regions(NamedTuple):
    """Masks of each level, finest first, all (B, h, w).

    Attributes:
        foreground: M_fg, 1 at the mean of a Gaussian, 0 outside the key predictive regions.
        background: M_bg, 1 in cells whose location is in no box, else 0.
    """

    foreground: list[Tensor]
    background: list[Tensor]


@torch.no_grad()
def key_regions(teacher: DenseOutputs, priors: Priors, batch: Batch, K: int, xi: float) -> Regions:
    """Compute the masks of all levels of the teacher's head.

    Args:
        teacher: its raw outputs.
        priors: of its head.
        batch: with the ground truth.
        K: locations of each ground truth.
        xi: exponent of the IoU, 0-1; that of the class score is 1 - xi.
    """
    sizes = [(int(s.shape[2]), int(s.shape[3])) for s in teacher.scores]
    device = batch.images.device
    anchors = priors.anchors(sizes, device)
    counts = [height * width for height, width in sizes]
    per_cell = [len(level) // cells for level, cells in zip(anchors, counts, strict=True)]
    # The priors of a cell have one centre: it is the cell's location, and the cell has the score of the best of them.
    centres = [(level[::n, :2] + level[::n, 2:]) / 2 for level, n in zip(anchors, per_cell, strict=True)]
    starts = torch.tensor([0, *counts], device=device).cumsum(0)[:-1]
    cells = [torch.arange(len(level), device=device) // n + start
             for level, n, start in zip(anchors, per_cell, starts, strict=True)]  # fmt: skip
    predicted = priors.decode(teacher)
    foreground, background = [], []
    for image, (boxes, labels) in enumerate(zip(batch.boxes, batch.labels, strict=True)):
        scores = class_scores(teacher, image)
        inside = points_inside(boxes, torch.cat(anchors))
        quality = cell_quality(scores, predicted[image], boxes, labels, inside, torch.cat(cells), sum(counts), xi)
        foreground.append(gaussian_weights(quality, torch.cat(centres), K))
        background.append((~points_inside(boxes, torch.cat(centres).repeat(1, 2)).any(0)).float())
    return Regions(_per_level(foreground, counts, sizes), _per_level(background, counts, sizes))


def class_scores(dense: DenseOutputs, image: int) -> Tensor:
    """(N, C): probabilities of the foreground classes of all priors of one image."""
    rows = [s[image].permute(1, 2, 0).reshape(-1, dense.classes) for s in dense.scores]
    logits = torch.cat(rows)
    return logits.sigmoid() if dense.kind == "sigmoid" else logits.softmax(1)[:, :-1]


def cell_quality(
    scores: Tensor,
    predicted: Tensor,
    boxes: Tensor,
    labels: Tensor,
    inside: Tensor,
    cell: Tensor,
    cells: int,
    xi: float,
) -> Tensor:
    """q of every cell for every ground truth: the best of p^(1 - xi) IoU^xi over the priors of the cell.

    Args:
        scores: (N, C) probabilities.
        predicted: (N, 4) decoded boxes, xyxy px.
        boxes, labels: (G, 4) xyxy px and (G,) long, the ground truth.
        inside: (G, N) bool, whether a prior's location lies in the box.
        cell: (N,) long, the cell of each prior.
        cells: number of cells of all levels.
        xi: exponent of the IoU.

    Returns:
        (G, cells), 0 outside the box.
    """
    truth, prior = inside.nonzero(as_tuple=True)  # single pairs: most priors lie in few boxes
    iou = broadcast_iou(predicted[prior], boxes[truth])
    q = scores[prior, labels[truth]].pow(1 - xi) * iou.pow(xi)
    flat = q.new_zeros(len(boxes) * cells).scatter_reduce(0, truth * cells + cell[prior], q, "amax")
    return flat.view(len(boxes), cells)


def gaussian_weights(quality: Tensor, centres: Tensor, K: int) -> Tensor:
    """M_fg of one image: a Gaussian is fitted to the K best locations of each ground truth, and read there.

    Args:
        quality: (G, N) q of N cells.
        centres: (N, 2) locations x, y in px.
        K: locations of each ground truth; fewer where fewer have a quality above 0.

    Returns:
        (N,), the greatest value over the ground truths.
    """
    result = centres.new_zeros(len(centres))
    if not len(quality):
        return result
    best, index = quality.topk(min(K, quality.shape[1]), dim=1)
    valid = (best > 0).to(centres.dtype)
    count = valid.sum(1).clamp(min=1)
    mean = (valid[..., None] * centres[index]).sum(1) / count[:, None]
    away = centres[index] - mean[:, None]
    covariance = torch.einsum("gk,gki,gkj->gij", valid, away, away) / count[:, None, None]
    xx, yy, xy = covariance[:, 0, 0] + VARIANCE_PX, covariance[:, 1, 1] + VARIANCE_PX, covariance[:, 0, 1]
    # d^T S^-1 d of a 2 x 2 matrix, written out.
    x, y = away.unbind(2)
    square = (yy[:, None] * x * x - 2 * xy[:, None] * x * y + xx[:, None] * y * y) / (xx * yy - xy * xy)[:, None]
    weight = valid * torch.exp(-square / 2)
    return result.scatter_reduce(0, index.flatten(), weight.flatten(), "amax")


def _per_level(images: Sequence[Tensor], counts: Sequence[int], sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Masks of all cells of each image -> maps (B, h, w) of each level."""
    parts = torch.stack(list(images)).split(list(counts), 1)
    return [part.unflatten(1, size) for part, size in zip(parts, sizes, strict=True)]
