"""A slow, literal FGD: one loop per sum, nothing shared with the production code.

"Focal and Global Knowledge Distillation for Detectors", CVPR 2022. Maps are lists with one (B, M, h, w) per level; the
student's are already adapted. Weights of the global context blocks are plain tensors. Autograd runs through the
explicit arithmetic, in the dtype of the input; the teacher's maps are detached, its context block is not. It imports
nothing of the package it checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class GlobalContext:
    """The weights of one global context block over M channels, with a bottleneck of I = M / 2.

    Attributes:
        mask_weight: (M,), the 1x1 convolution to one channel.
        mask_bias: a scalar tensor.
        reduce_weight: (I, M).
        reduce_bias: (I,).
        norm_weight: (I,), of the LayerNorm.
        norm_bias: (I,).
        expand_weight: (M, I).
        expand_bias: (M,).
        norm_eps: added to the variance inside the LayerNorm.
    """

    mask_weight: Tensor
    mask_bias: Tensor
    reduce_weight: Tensor
    reduce_bias: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    expand_weight: Tensor
    expand_bias: Tensor
    norm_eps: float = 1e-5


# ------------------------------------------------------------------------------------------------------ masks


def foreground_mask(boxes: Tensor, frame: tuple[int, int], map_size: tuple[int, int]) -> Tensor:
    """(h, w) of one image: the largest 1 / area of the boxes over a cell, 0 where there is none.

    Args:
        boxes: (G, 4), xyxy in pixels.
        frame: (height, width) in pixels by which a box is divided: the authors take the unpadded image's.
        map_size: (h, w), the padded map. A bound is the floor of the minimum and the ceil of the maximum, both cells
            inside; the area counts the cells of these bounds, also those beyond the map.
    """
    height, width = map_size
    mask = torch.zeros(height, width, dtype=torch.float64, device=boxes.device)
    for box in boxes.detach():
        x0 = math.floor(box[0] / frame[1] * width)
        y0 = math.floor(box[1] / frame[0] * height)
        x1 = math.ceil(box[2] / frame[1] * width)
        y1 = math.ceil(box[3] / frame[0] * height)
        value = 1.0 / ((y1 + 1 - y0) * (x1 + 1 - x0))
        for y in range(height):
            for x in range(width):
                if y0 <= y <= y1 and x0 <= x <= x1 and value > float(mask[y, x]):
                    mask[y, x] = value
    return mask


def background_mask(foreground: Tensor) -> Tensor:
    """(h, w) of one image: 1 / (number of background cells) on every cell without foreground, 0 elsewhere."""
    height, width = foreground.shape
    cells = 0
    for y in range(height):
        for x in range(width):
            if float(foreground[y, x]) == 0:
                cells += 1
    mask = torch.zeros_like(foreground)
    for y in range(height):
        for x in range(width):
            if float(foreground[y, x]) == 0:
                mask[y, x] = 1.0 / cells
    return mask


# -------------------------------------------------------------------------------------------------- attention


def softmax(z: Tensor) -> Tensor:
    """Exponentials over their sum, for a vector; the maximum is taken out as a constant."""
    e = (z - float(z.detach().max())).exp()
    total = e[0] * 0
    for value in e:
        total = total + value
    return e / total


def spatial_attention(sample: Tensor, temperature: float) -> Tensor:
    """h w softmax(mean over channels of |F| / T) of one (M, h, w); (h, w)."""
    channels, height, width = sample.shape
    g = sample[0] * 0
    for m in range(channels):
        g = g + sample[m].abs()
    g = g / channels
    return (height * width * softmax(g.reshape(-1) / temperature)).reshape(height, width)


def channel_attention(sample: Tensor, temperature: float) -> Tensor:
    """M softmax(mean over positions of |F| / T) of one (M, h, w); (M,)."""
    channels, height, width = sample.shape
    g = sample[:, 0, 0] * 0
    for y in range(height):
        for x in range(width):
            g = g + sample[:, y, x].abs()
    g = g / (height * width)
    return channels * softmax(g / temperature)


def feature_of_level(student: Tensor, teacher: Tensor, masks: Sequence[Tensor], *, temperature: float) -> Tensor:
    """L_fg or L_bg: 1 / B times the sum of M m_s m_c (phi(S) - T)^2, with one scale mask (h, w) per image.

    The attention is the teacher's alone.
    """
    t = teacher.detach()
    batch, channels, height, width = t.shape
    total = student.sum() * 0
    for b in range(batch):
        m_s, m_c = spatial_attention(t[b], temperature), channel_attention(t[b], temperature)
        for m in range(channels):
            for y in range(height):
                for x in range(width):
                    weight = masks[b][y, x].to(t.dtype) * m_s[y, x] * m_c[m]
                    total = total + weight * (student[b, m, y, x] - t[b, m, y, x]) ** 2
    return total / batch


def attention_of_level(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """L_att: 1 / B times (sum of |m_c^s - m_c^t| + sum of |m_s^s - m_s^t|); gradients reach the student's masks."""
    t = teacher.detach()
    batch, channels, height, width = t.shape
    total = student.sum() * 0
    for b in range(batch):
        c_student, c_teacher = channel_attention(student[b], temperature), channel_attention(t[b], temperature)
        s_student, s_teacher = spatial_attention(student[b], temperature), spatial_attention(t[b], temperature)
        for m in range(channels):
            total = total + (c_student[m] - c_teacher[m]).abs()
        for y in range(height):
            for x in range(width):
                total = total + (s_student[y, x] - s_teacher[y, x]).abs()
    return total / batch


# --------------------------------------------------------------------------------------------------- relation


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1 convolution of one position: (M,) to (O,) with weight (O, M) and bias (O,)."""
    outputs = []
    for o in range(weight.shape[0]):
        value = bias[o]
        for m in range(weight.shape[1]):
            value = value + weight[o, m] * x[m]
        outputs.append(value)
    return torch.stack(outputs)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """A vector minus its mean, over the root of (its biased variance + eps), scaled and shifted."""
    mean = x[0] * 0
    for value in x:
        mean = mean + value
    mean = mean / len(x)
    variance = x[0] * 0
    for value in x:
        variance = variance + (value - mean) ** 2
    variance = variance / len(x)
    return (x - mean) / (variance + eps).sqrt() * weight + bias


def global_context(sample: Tensor, block: GlobalContext) -> Tensor:
    """One (M, h, w): F + expand(ReLU(LayerNorm(reduce(context)))), the context being the softmax-weighted mean of F."""
    channels, height, width = sample.shape
    logits = sample[0] * 0 + block.mask_bias
    for m in range(channels):
        logits = logits + block.mask_weight[m] * sample[m]
    weights = softmax(logits.reshape(-1)).reshape(height, width)
    context = sample[:, 0, 0] * 0
    for y in range(height):
        for x in range(width):
            context = context + weights[y, x] * sample[:, y, x]
    hidden = linear(context, block.reduce_weight, block.reduce_bias)
    hidden = layer_norm(hidden, block.norm_weight, block.norm_bias, block.norm_eps)
    hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
    added = linear(hidden, block.expand_weight, block.expand_bias)
    return torch.stack([sample[m] + added[m] for m in range(channels)])


def relation_of_level(student: Tensor, teacher: Tensor, gc_student: GlobalContext, gc_teacher: GlobalContext) -> Tensor:
    """L_rel: 1 / B times the sum of (GC_s(phi(S)) - GC_t(T))^2."""
    t = teacher.detach()
    batch, channels, height, width = t.shape
    total = student.sum() * 0
    for b in range(batch):
        s_context, t_context = global_context(student[b], gc_student), global_context(t[b], gc_teacher)
        for m in range(channels):
            for y in range(height):
                for x in range(width):
                    total = total + (s_context[m, y, x] - t_context[m, y, x]) ** 2
    return total / batch


# ------------------------------------------------------------------------------------------------------ total


def fgd(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    boxes: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    gc_student: Sequence[GlobalContext],
    gc_teacher: Sequence[GlobalContext],
    *,
    temperature: float,
    padded: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """The terms "fg", "bg", "att" and "rel", each summed over the levels, unweighted.

    Args:
        student: adapted, one (B, M, h, w) per level.
        teacher: one (B, M, h, w) per level.
        boxes: one (G_i, 4) per image, xyxy in padded pixels; every box acts on every level.
        sizes: one (height, width) per image, unpadded.
        gc_student: one block per level.
        gc_teacher: one block per level.
        temperature: T of the attention.
        padded: None for the authors' frame (boxes are divided by the unpadded size), or the (height, width) of the
            padded batch for the frame without the misalignment.
    """
    zero = student[0].sum() * 0
    out = {"fg": zero, "bg": zero, "att": zero, "rel": zero}
    for s, t, gc_s, gc_t in zip(student, teacher, gc_student, gc_teacher, strict=True):
        height, width = t.shape[-2:]
        fg = [
            foreground_mask(b, size if padded is None else padded, (height, width))
            for b, size in zip(boxes, sizes, strict=True)
        ]
        bg = [background_mask(mask) for mask in fg]
        out["fg"] = out["fg"] + feature_of_level(s, t, fg, temperature=temperature)
        out["bg"] = out["bg"] + feature_of_level(s, t, bg, temperature=temperature)
        out["att"] = out["att"] + attention_of_level(s, t, temperature=temperature)
        out["rel"] = out["rel"] + relation_of_level(s, t, gc_s, gc_t)
    return out


def weighted(terms: Mapping[str, Tensor], *, fg: float, bg: float, att: float, rel: float) -> Tensor:
    """fg L_fg + bg L_bg + att L_att + rel L_rel."""
    return fg * terms["fg"] + bg * terms["bg"] + att * terms["att"] + rel * terms["rel"]
