"""The valuable localisation region (VLR) of LD: a ring of anchors around the positives of each ground truth.

An anchor a is in the ring of ground truth j where gamma t_j <= d(a, j) < t_j. Here d is the distance-IoU,

    defined     |a n j| / |a u j| - |centre_a - centre_j|^2 / |diagonal of the box around both|^2
    released    |a n j| / |a|     - the same

and t_j is ATSS's threshold. The second is what the released code computes under that name.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Ring = Literal["defined", "released"]


def vlr_weights(
    anchors: list[Tensor], boxes: Tensor, k: int = 9, gamma: float = 0.25, ring: Ring = "defined"
) -> Tensor:
    """Compute the weight of every anchor of one image: its IoU in the ring of a ground truth, of several the greatest.

    Args:
        anchors: per level (n, 4) xyxy px, N in all.
        boxes: (G, 4) xyxy px.
        k: nearest anchors of each level from which t_j follows.
        gamma: inner end of the ring, as a share of t_j.
        ring: the measure d.

    Returns:
        (N,), 0 outside of all rings.
    """
    everywhere = torch.cat(anchors)
    if len(boxes) == 0:
        return everywhere.new_zeros(len(everywhere))
    pairs = compare_boxes(boxes, everywhere)
    threshold = atss_threshold(pairs.iou, pairs.centre_distance, [len(level) for level in anchors], k)[:, None]
    overlap = pairs.iou if ring == "defined" else pairs.share
    distance = overlap - pairs.centre_distance / pairs.diagonal
    inside = (distance >= gamma * threshold) & (distance < threshold)
    return (pairs.iou * inside).amax(0)


class BoxPairs(NamedTuple):
    """Ground truths against anchors, (G, N) each.

    Attributes:
        iou: intersection over union.
        share: share of the anchor that the ground truth covers.
        centre_distance: squared distance of the centres, px^2.
        diagonal: squared diagonal of the smallest box around both, px^2.
    """

    iou: Tensor
    share: Tensor
    centre_distance: Tensor
    diagonal: Tensor


def compare_boxes(boxes: Tensor, anchors: Tensor) -> BoxPairs:
    """Compare boxes (G, 4) with anchors (N, 4), xyxy px."""
    g, a = boxes[:, None], anchors[None]
    area_g, area_a = ((b[..., 2:] - b[..., :2]).prod(-1) for b in (g, a))
    common = (torch.minimum(g[..., 2:], a[..., 2:]) - torch.maximum(g[..., :2], a[..., :2])).clamp(min=0).prod(-1)
    around = torch.maximum(g[..., 2:], a[..., 2:]) - torch.minimum(g[..., :2], a[..., :2])
    centre_distance = ((g[..., :2] + g[..., 2:] - a[..., :2] - a[..., 2:]) / 2).square().sum(-1)
    return BoxPairs(common / (area_g + area_a - common), common / area_a, centre_distance, around.square().sum(-1))


def atss_threshold(overlap: Tensor, centre_distance: Tensor, sizes: list[int], k: int) -> Tensor:
    """t_j (G,): mean + standard deviation of the IoU of the k nearest anchors of each level; ties go to the first.

    Args:
        overlap, centre_distance: (G, N) IoU and squared distance of centres.
        sizes: anchors of each level, N in all.
    """
    candidates = [
        iou.gather(1, distance.argsort(dim=1, stable=True)[:, :k])
        for iou, distance in zip(overlap.split(sizes, 1), centre_distance.split(sizes, 1), strict=True)
    ]
    chosen = torch.cat(candidates, 1)
    # One candidate alone has no unbiased deviation (NaN).
    return chosen.mean(1) + chosen.std(1, correction=min(1, chosen.shape[1] - 1))
