"""Sums over many boxes, with the memory of a few.

Terms that are sums of independent per-box values need no graph across boxes: each chunk's gradient with respect to its
boxes is taken at once, and its activations (the frozen teacher's, which dominate) are freed before the next chunk
begins. The result carries the stored gradient, so that a later `backward` is the usual one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Terms = Callable[[Tensor, slice], dict[str, Tensor]]


class _Known(torch.autograd.Function):
    """A value whose gradient with respect to the boxes is already known."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


def summed(terms: Terms, boxes: Tensor, chunk: int, scale: float = 1.0) -> dict[str, Tensor]:
    """Sum per-box terms over chunks of boxes; value and gradient do not depend on the chunk size.

    Args:
        terms: (boxes (k, 4), the slice of rows they are) -> name -> scalar, the sum over these k boxes. What it depends
            on besides the boxes is taken as constant.
        boxes: (K, 4), K >= 1; gets the gradient.
        chunk: boxes at a time.
        scale: factor on the terms while their gradient is taken, divided out again: keeps gradients inside a
            half-precision teacher away from underflow.

    Returns:
        name -> scalar with a graph to `boxes` (once differentiable).
    """
    wanted = torch.is_grad_enabled() and boxes.requires_grad
    values: dict[str, list[Tensor]] = {}
    gradients: dict[str, list[Tensor]] = {}
    for start in range(0, len(boxes), chunk):
        rows = slice(start, start + chunk)
        part = boxes[rows].detach().requires_grad_(wanted)
        found = terms(part, rows)
        left = len(found)
        for name, value in found.items():
            left -= 1
            values.setdefault(name, []).append(value.detach())
            if wanted:
                (gradient,) = torch.autograd.grad(value * scale, part, retain_graph=left > 0)
                gradients.setdefault(name, []).append(gradient / scale)
    totals = {name: torch.stack(parts).sum() for name, parts in values.items()}
    if not wanted:
        return totals
    return {name: _Known.apply(boxes, total, torch.cat(gradients[name])) for name, total in totals.items()}
