"""The anchors or points of a dense head, and the boxes that its raw numbers stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from c2d import heads
from c2d.outputs import Dense


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

    def decode(self, dense: Dense) -> Tensor:
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

    def _raw(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> list[Any]:
        given: list[Any] = self._head.prior_generator.grid_priors(sizes, device=device)
        return given
