"""The anchors or points of a dense head, and the boxes that its raw numbers stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from c2d.detectors import heads
from c2d.detectors.layout import HeadLayout
from c2d.detectors.outputs import DenseOutputs


class Priors:
    """Priors of one dense head, in the order of its flattened outputs: level, row, column, prior of the cell.

    Anchor-free heads have points; where a method wants anchors they get squares of side 8 strides (ours, as in ATSS).
    A plain object: the head's weights stay the student's.
    """

    SIDE = 8

    def __init__(self, head: Any) -> None:
        """`head`: an mmdet dense head, see `heads.dense_head`."""
        self._head = head
        self.points = type(head.prior_generator).__name__ == "MlvlPointGenerator"
        self.strides = heads.strides(head)

    def levels(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> list[Tensor]:
        """Per level (h * w * A, 4) anchors xyxy in px; points as squares. Not clipped to the image."""
        found = [heads.plain(p).float() for p in self._raw(sizes, device)]
        if not self.points:
            return found
        half = [self.SIDE * stride / 2 for stride in self.strides]
        return [torch.cat([p - h, p + h], 1) for p, h in zip(found, half, strict=True)]

    def decode(self, dense: DenseOutputs) -> Tensor:
        """Boxes (B, N, 4) xyxy px of raw deltas, not clipped, without a graph."""
        sizes = [tuple(s.shape[-2:]) for s in dense.scores]
        device = dense.scores[0].device
        raw = self._raw(sizes, device)  # type: ignore[arg-type]
        counts = [len(p) for p in raw]
        flat = torch.cat([heads.plain(p).float() for p in raw])
        stride = torch.repeat_interleave(
            torch.tensor(self.strides, device=device).float(), torch.tensor(counts, device=device)
        )
        with torch.no_grad():
            rows = dense.flat_deltas()
            return torch.stack([heads.decode_dense(self._head, one, flat, stride) for one in rows])

    def lie_like(self, other: Priors) -> bool:
        """Whether prior r is the same anchor or point in another head of the same layout, whatever its coder."""
        if self.points != other.points:
            return False
        sizes = [(2, 2)] * len(self.strides)
        ours, theirs = (torch.cat(priors.levels(sizes, torch.device("cpu"))) for priors in (self, other))
        return torch.allclose(ours, theirs, rtol=1e-4, atol=1e-2)

    def writes_like(self, other: Priors, layout: HeadLayout) -> bool:
        """Whether the same numbers mean the same boxes in another head of the same layout: priors and coder agree."""
        if self.points != other.points:
            return False
        made = []
        for priors in (self, other):
            device = next(priors._head.parameters()).device
            scores = [torch.zeros(1, a * layout.classes, 2, 2, device=device) for a in layout.priors]
            width = [a * n for a, n in zip(layout.priors, layout.numbers, strict=True)]
            deltas = [torch.linspace(0, 1, 4 * w, device=device).reshape(1, w, 2, 2) for w in width]
            made.append(
                priors.decode(DenseOutputs(tuple(scores), tuple(deltas), layout.classes, layout.kind, layout.strides))
            )
        return torch.allclose(made[0].cpu(), made[1].cpu(), rtol=1e-4, atol=1e-2)

    def matched(self, boxes: Tensor, sizes: Sequence[tuple[int, int]], threshold: float) -> Tensor:
        """(G, N) bool: the anchors of boxes (G, 4) by the rule of `max_iou`; of point heads, the points inside."""
        anchors = torch.cat(self.levels(sizes, boxes.device))
        return points_inside(boxes, anchors) if self.points else max_iou(boxes, anchors, threshold)

    def _raw(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> list[Any]:
        given: list[Any] = self._head.prior_generator.grid_priors(sizes, device=device)
        return given


def max_iou(boxes: Tensor, anchors: Tensor, threshold: float) -> Tensor:
    """(G, N) bool: anchors (N, 4) with at least so much IoU, and the best of each of boxes (G, 4), however low.

    The rule of RetinaNet's assigner, with two guards: a box that meets no anchor at all gets none, and what ties for
    the best (many small boxes lie inside several anchors) does not hang on the last digit.
    """
    iou = box_iou(boxes, anchors)
    best = iou.amax(1, keepdim=True)
    return (iou >= threshold) | ((iou > best - 1e-6) & (best > 1e-6))


def points_inside(boxes: Tensor, squares: Tensor) -> Tensor:
    """(G, N) bool: middles of squares (N, 4) strictly inside boxes (G, 4)."""
    x, y = ((squares[:, :2] + squares[:, 2:]) / 2).unbind(1)
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    return (x > x1) & (x < x2) & (y > y1) & (y < y2)
