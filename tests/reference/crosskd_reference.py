"""A slow, literal CrossKD: the rest of a head written out, then location by location; nothing shared with the code.

"CrossKD: Cross-Head Knowledge Distillation for Object Detection", CVPR 2024, from the equations of the paper. It
imports nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.reference.box_overlap_reference import Box, giou


class Layer(NamedTuple):
    """One stacked convolution: 3x3 with padding 1, group normalisation where there is one, ReLU.

    Attributes:
        norm: groups, weight and bias.
    """

    weight: Tensor
    bias: Tensor | None
    norm: tuple[int, Tensor, Tensor] | None


def rest_of_branch(f: Tensor, layers: Sequence[Layer], weight: Tensor, bias: Tensor) -> Tensor:
    """What C_i+1 .. C_n of the teacher make of the student's map f_i; the last one only predicts."""
    for layer in layers:
        f = F.conv2d(f, layer.weight.detach(), None if layer.bias is None else layer.bias.detach(), padding=1)
        if layer.norm is not None:
            groups, gamma, beta = layer.norm
            parts = [part - part.mean((1, 2, 3), keepdim=True) for part in f.chunk(groups, 1)]
            f = torch.cat([part / (part.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt() for part in parts], 1)
            f = f * gamma.detach()[:, None, None] + beta.detach()[:, None, None]
        f = torch.where(f > 0, f, 0)
    return F.conv2d(f, weight.detach(), bias.detach(), padding=1)


def quality_focal(crossed: Tensor, teacher: Tensor, beta: float = 2.0) -> Tensor:
    """Sum over locations and classes of |p_t - p|^beta times the cross-entropy with p_t, of logits (N, C)."""
    total = []
    for row, row_t in zip(crossed, teacher, strict=True):
        for z, z_t in zip(row, row_t, strict=True):
            p, y = 1 / (1 + (-z).exp()), 1 / (1 + (-z_t.detach()).exp())
            total.append((y - p).abs() ** beta * -(y * p.log() + (1 - y) * (1 - p).log()))
    return torch.stack(total).sum()


def box_term(crossed: Sequence[Box], teacher: Sequence[Box]) -> Tensor:
    """Mean over locations of 1 - GIoU."""
    pairs = zip(crossed, teacher, strict=True)
    return torch.stack([1 - giou(a, [edge.detach() for edge in b]) for a, b in pairs]).mean()


def distribution_term(crossed: Tensor, teacher: Tensor, T: float = 1.0) -> Tensor:
    """Mean over locations of the sum over edges of T^2 KL(p_t || p), of logits (N, 4, bins)."""
    total = []
    for row, row_t in zip(crossed, teacher, strict=True):
        for edge, edge_t in zip(row, row_t.detach(), strict=True):
            p, p_t = (e.exp() / e.exp().sum() for e in (edge / T, edge_t / T))
            total.append(T**2 * torch.stack([a * (a.log() - b.log()) for a, b in zip(p_t, p, strict=True)]).sum())
    return torch.stack(total).sum() / len(crossed)
