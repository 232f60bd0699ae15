"""Sizes and shapes of boxes that a detector was built to find, read from its anchors or points: no data is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from c2d.core.errors import InputError
from c2d.detectors import heads
from c2d.detectors.recording.anchors import Priors

RATIOS = (0.5, 2.0)
"""Aspect ratios where the detector has none of its own: those of the anchors of most detectors (ours)."""


@dataclass(frozen=True)
class BoxPrior:
    """Range of boxes.

    Attributes:
        side: smallest and largest square root of the area, as a share of the image's side.
        ratio: smallest and largest width / height.
    """

    side: tuple[float, float]
    ratio: tuple[float, float]


def box_prior(network: Any, size_px: int) -> BoxPrior:
    """Read the range of boxes from the priors of a detector; the RPN's for a two-stage one.

    Anchors: the range of those that fit into the image. Points, and heads with one square anchor in a cell, which is
    no more than a point (ATSS, GFL): from one cell of the finest level, where every box holds a point, up to the image,
    within the regression ranges if the head has some. These have no aspect ratio, so it is `RATIOS`.

    Args:
        network: an mmdet detector of a supported family.
        size_px: side of the square images.

    Raises:
        InputError: no prior fits into such an image.
    """
    head = heads.dense_head(network)
    generator = head.prior_generator
    strides = heads.strides(head)
    if Priors(head).point_based or all(len(level) == 1 for level in generator.base_anchors):
        return _point_prior(head, min(strides), size_px)
    corners = torch.cat([level.double().cpu() for level in generator.base_anchors])
    width, height = (corners[:, 2:] - corners[:, :2]).unbind(1)
    inside = (width <= size_px) & (height <= size_px)
    if not inside.any():
        smallest = float(torch.maximum(width, height).min())
        raise InputError(
            f"no anchor of the teacher fits into an image of {size_px} px, the smallest is {smallest:.0f} px; give a "
            "larger size, or set targets.boxes to uniform"
        )
    side = (width * height)[inside].sqrt() / size_px
    ratio = (width / height)[inside]
    return BoxPrior((float(side.min()), float(side.max())), (float(ratio.min()), float(ratio.max())))


def _point_prior(head: Any, stride: int, size_px: int) -> BoxPrior:
    """Return the range of a head whose priors have no shape; FCOS assigns by the largest distance to an edge."""
    ranges = getattr(head, "regress_ranges", None) or [(0, float("inf"))]
    smallest = max(stride, ranges[0][0])
    # The centre of a box is half its side from the edges.
    largest = min(size_px, 2 * max(high for _, high in ranges))
    if smallest > largest:
        raise InputError(
            f"no box that the teacher regresses fits into an image of {size_px} px, the smallest is {smallest:.0f} px; "
            "give a larger size, or set targets.boxes to uniform"
        )
    return BoxPrior((smallest / size_px, largest / size_px), RATIOS)
