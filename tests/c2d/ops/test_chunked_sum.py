"""Sums over boxes whose gradients are taken chunk by chunk."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from c2d.ops.chunked_sum import chunked_sum

BOXES = torch.rand(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
FACTOR = torch.arange(7.0, dtype=torch.float64)


def terms(boxes: Tensor, rows: slice) -> dict[str, Tensor]:
    shared = boxes.square().sum(1)
    return {"a": (FACTOR[rows] * shared).sum(), "b": shared.sin().sum()}


@pytest.mark.parametrize("chunk", [1, 3, 7, 50])
@pytest.mark.parametrize("scale", [1.0, 4096.0])
def test_value_and_gradient_are_those_of_the_whole_sum(chunk: int, scale: float) -> None:
    leaf, plain = BOXES.clone().requires_grad_(), BOXES.clone().requires_grad_()
    got, want = chunked_sum(terms, leaf * 2, chunk, scale), terms(plain * 2, slice(None))
    (3 * got["a"] + got["b"]).backward()
    (3 * want["a"] + want["b"]).backward()
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(leaf.grad, plain.grad)


def test_terms_have_separate_gradients() -> None:
    leaf = BOXES.clone().requires_grad_()
    got = chunked_sum(terms, leaf, 2)
    (gradient,) = torch.autograd.grad(got["a"], leaf, retain_graph=True)
    torch.testing.assert_close(gradient, 2 * FACTOR[:, None] * BOXES)


def test_without_gradients_only_the_value_is_computed() -> None:
    with torch.no_grad():
        assert not chunked_sum(terms, BOXES.clone().requires_grad_(), 3)["a"].requires_grad
    assert not chunked_sum(terms, BOXES, 3)["a"].requires_grad
