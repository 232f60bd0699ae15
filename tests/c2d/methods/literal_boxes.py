"""Boxes of a tiny dense head by the literal reference, with the graph of its box numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tests.reference import box_overlap_reference as literal

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)
"""`target_stds` of the tiny heads with anchors."""


def rows(maps: Sequence[Tensor], width: int) -> Tensor:
    """Maps (B, A * width, h, w) of all levels as rows (B * N, width): image, level, row, column, prior."""
    flat = [m.permute(0, 2, 3, 1).reshape(len(m), -1, width) for m in maps]
    return torch.cat(flat, 1).reshape(-1, width)


def boxes_of(head: Any, deltas: Sequence[Tensor]) -> list[literal.Box]:
    """The boxes of all rows of a RetinaNet, ATSS, GFL or FCOS head of `tiny_detectors`."""
    kind, images = type(head).__name__, len(deltas[0])
    priors = head.prior_generator.grid_priors([tuple(d.shape[-2:]) for d in deltas], device="cpu")
    strides = [stride for stride, level in zip((4, 8, 16), priors, strict=True) for _ in level] * images
    flat = torch.cat(list(priors)).double().repeat(images, 1)
    raw = rows(deltas, 4 * 9 if kind == "GFLHead" else 4)
    found = []
    for prior, numbers, stride in zip(flat, raw, strides, strict=True):
        if kind in ("RetinaHead", "ATSSHead"):
            found.append(literal.of_deltas(prior, numbers, DEVIATIONS))
        elif kind == "GFLHead":
            centre = (prior[:2] + prior[2:]) / 2
            found.append(literal.of_distances(centre, literal.expected_distances(numbers, stride)))
        else:  # FCOS without norm_on_bbox: distances in px
            found.append(literal.of_distances(prior, list(numbers)))
    return found
