"""Sum per-box loss terms chunk by chunk, keeping only the gradient of the boxes. Memory is O(chunk), not O(K).

Terms that are sums of independent per-box values need no graph across boxes: the gradient of each chunk with respect
to its boxes is computed at once, and its activations (mostly the frozen teacher's) are freed before the next chunk.
The result carries the stored gradient, so that `backward` works as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Terms = Callable[[Tensor, slice], dict[str, Tensor]]
"""(boxes (k, 4), the slice of rows they are) -> name -> scalar, the sum over these k boxes."""


class _StoredGradient(torch.autograd.Function):
    """A value whose gradient with respect to the boxes is already computed.

    Only once differentiable: a second derivative would need the graphs that were freed.
    """

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


def chunked_sum(terms: Terms, boxes: Tensor, chunk: int, scale: float = 1.0) -> dict[str, Tensor]:
    """Sum terms over chunks of boxes; value and gradient do not depend on the chunk size.

    Args:
        terms: computes the terms of one chunk; everything but the boxes counts as constant.
        boxes: (K, 4) xyxy, K >= 1; gets the gradient.
        chunk: boxes per chunk.
        scale: factor on the terms while their gradient is computed, divided out again, so that gradients inside a
            half-precision teacher do not underflow.

    Returns:
        name -> scalar with a graph to `boxes` (once differentiable).
    """
    wanted = torch.is_grad_enabled() and boxes.requires_grad
    values: dict[str, list[Tensor]] = {}
    gradients: dict[str, list[Tensor]] = {}
    for start in range(0, len(boxes), chunk):
        rows = slice(start, start + chunk)
        # A new leaf: the gradient stops here, and the graph behind the boxes stays for the caller's backward pass.
        part = boxes[rows].detach().requires_grad_(wanted)
        results = terms(part, rows)
        left = len(results)
        for name, value in results.items():
            left -= 1
            values.setdefault(name, []).append(value.detach())
            if wanted:
                # The last term of a chunk frees the graph.
                (gradient,) = torch.autograd.grad(value * scale, part, retain_graph=left > 0)
                gradients.setdefault(name, []).append(gradient / scale)
    totals = {name: torch.stack(parts).sum() for name, parts in values.items()}
    if not wanted:
        return totals
    return {name: _StoredGradient.apply(boxes, total, torch.cat(gradients[name])) for name, total in totals.items()}
