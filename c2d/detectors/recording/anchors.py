"""Priors (anchors or points) of a dense head, and the boxes that its raw outputs encode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from c2d.detectors import heads
from c2d.detectors.outputs import DenseOutputs
from c2d.detectors.recording.layout import HeadLayout


class Priors:
    """Priors of one dense head, in the order of its flattened outputs: level, row, column, prior of the cell.

    Anchor-free heads have points. Where a method needs anchors they are squares of side 8 strides (ours, as in ATSS).
    It is no module, so it does not register the head's weights a second time.

    Attributes:
        point_based: whether the priors are points.
        strides: px per cell of each level.
    """

    SIDE = 8

    def __init__(self, head: Any) -> None:
        """`head`: an mmdet dense head, see `heads.dense_head`."""
        self._head = head
        self.point_based = type(head.prior_generator).__name__ == "MlvlPointGenerator"
        self.strides = heads.strides(head)

    def anchors(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> list[Tensor]:
        """Return the anchors of each level, points as squares, not clipped to the image.

        Args:
            sizes: (height, width) of each level in cells.
            device: of the result.

        Returns:
            Per level (h * w * A, 4) fp32 xyxy, px of the batch tensor.
        """
        priors = [heads.box_tensor(p).float() for p in self._raw(sizes, device)]
        if not self.point_based:
            return priors
        half = [self.SIDE * stride / 2 for stride in self.strides]
        centre = heads.dense_kind(self._head).centre  # YOLOX decodes from the corner of a cell and assigns its centre
        priors = [p + centre * stride for p, stride in zip(priors, self.strides, strict=True)]
        return [torch.cat([p - h, p + h], 1) for p, h in zip(priors, half, strict=True)]

    def decode(self, dense: DenseOutputs) -> Tensor:
        """Decode all raw deltas to boxes (B, N, 4) xyxy, px of the batch tensor, not clipped, with their graph."""
        sizes = [tuple(s.shape[-2:]) for s in dense.scores]
        device = dense.scores[0].device
        raw = self._raw(sizes, device)  # type: ignore[arg-type]
        counts = [len(p) for p in raw]
        flat = torch.cat([heads.box_tensor(p).float() for p in raw])
        stride = torch.repeat_interleave(
            torch.tensor(self.strides, device=device).float(), torch.tensor(counts, device=device)
        )
        return torch.stack([heads.decode_dense(self._head, one, flat, stride) for one in dense.flat_deltas()])

    def same_priors(self, other: Priors) -> bool:
        """Whether prior r is the same anchor or point in another head of the same layout; coders may differ."""
        if self.point_based != other.point_based:
            return False
        sizes = [(2, 2)] * len(self.strides)  # two cells a side: offset and stride both show
        ours, theirs = (torch.cat(priors.anchors(sizes, torch.device("cpu"))) for priors in (self, other))
        return torch.allclose(ours, theirs, rtol=1e-4, atol=1e-2)

    @torch.no_grad()
    def same_encoding(self, other: Priors, layout: HeadLayout) -> bool:
        """Whether equal deltas mean equal boxes in another head of the same layout: priors and coder agree.

        Both heads decode the same ramp of deltas on maps of 2 x 2 cells.
        """
        if self.point_based != other.point_based:
            return False
        decoded = []
        for priors in (self, other):
            device = next(priors._head.parameters()).device
            scores = tuple(torch.zeros(1, a * layout.classes, 2, 2, device=device) for a in layout.priors)
            widths = [a * n for a, n in zip(layout.priors, layout.box_channels, strict=True)]
            deltas = tuple(torch.linspace(0, 1, 4 * w, device=device).reshape(1, w, 2, 2) for w in widths)
            decoded.append(priors.decode(DenseOutputs(scores, deltas, layout.classes, layout.kind, layout.strides)))
        return torch.allclose(decoded[0].cpu(), decoded[1].cpu(), rtol=1e-4, atol=1e-2)

    def match(self, boxes: Tensor, sizes: Sequence[tuple[int, int]], threshold: float) -> Tensor:
        """Match priors to boxes: anchors by `match_max_iou`, points by `points_inside`.

        Args:
            boxes: (G, 4) xyxy, px of the batch tensor.
            sizes: (height, width) of each level in cells.
            threshold: IoU from which an anchor matches.

        Returns:
            (G, N) bool.
        """
        anchors = torch.cat(self.anchors(sizes, boxes.device))
        return points_inside(boxes, anchors) if self.point_based else match_max_iou(boxes, anchors, threshold)

    def _raw(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> list[Any]:
        priors: list[Any] = self._head.prior_generator.grid_priors(sizes, device=device)
        return priors


def match_max_iou(boxes: Tensor, anchors: Tensor, threshold: float) -> Tensor:
    """Match anchors to boxes by IoU; each box also gets its best anchors, however low their IoU.

    The rule of RetinaNet's assigner, with two guards: a box without overlap to any anchor gets none, and anchors within
    1e-6 of the best count as best (a small box lies inside several anchors, with equal IoU up to rounding).

    Args:
        boxes: (G, 4) xyxy, px.
        anchors: (N, 4) xyxy, px.
        threshold: IoU from which an anchor matches.

    Returns:
        (G, N) bool.
    """
    iou = box_iou(boxes, anchors)
    best = iou.amax(1, keepdim=True)
    return (iou >= threshold) | ((iou > best - 1e-6) & (best > 1e-6))


def points_inside(boxes: Tensor, squares: Tensor) -> Tensor:
    """(G, N) bool: whether the centres of squares (N, 4) lie strictly inside boxes (G, 4), both xyxy in px."""
    x, y = ((squares[:, :2] + squares[:, 2:]) / 2).unbind(1)
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)
    return (x > x1) & (x < x2) & (y > y1) & (y < y2)
