"""A slow, literal FKD / FBKD: one loop per sum, nothing shared with the production code.

"Improve Object Detection with Feature-based Knowledge Distillation", ICLR 2021. Maps are lists with one (B, M, h, w)
per level. `student` is the adapted map and `raw_student` the map before its adapter, (B, M_s, h, w): the attention, the
pooled terms and the non-local block see the raw one. Weights of the trainable parts are plain tensors. Autograd runs
through the explicit arithmetic, in the dtype of the input; the teacher's maps are detached, its non-local block is
not. It imports nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class NonLocal:
    """The weights of one dot-product non-local block over M channels, with I channels inside.

    Attributes:
        theta_weight: (I, M).
        theta_bias: (I,).
        phi_weight: (I, M).
        phi_bias: (I,).
        g_weight: (I, M).
        g_bias: (I,).
        out_weight: (M, I).
        out_bias: (M,).
        gamma: (M,), of the batch norm after the output convolution; 0 at the start.
        beta: (M,).
        sub_sample: side and stride of the max-pooling after phi and after g; 1 for none.
    """

    theta_weight: Tensor
    theta_bias: Tensor
    phi_weight: Tensor
    phi_bias: Tensor
    g_weight: Tensor
    g_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor
    gamma: Tensor
    beta: Tensor
    sub_sample: int = 1


@dataclass
class Parts:
    """The trainable parts of one level, for M_s raw student channels and M teacher channels.

    Attributes:
        lin_weight: (M, M_s), of the channel attention term.
        lin_bias: (M,).
        conv_weight: (3, 3), of the spatial attention term, one channel to one channel.
        conv_bias: a scalar tensor.
        nl_student: over M_s channels.
        nl_teacher: over M channels.
        phi_nl_weight: (M, M_s), the 1x1 convolution after the student's non-local block.
        phi_nl_bias: (M,).
    """

    lin_weight: Tensor
    lin_bias: Tensor
    conv_weight: Tensor
    conv_bias: Tensor
    nl_student: NonLocal
    nl_teacher: NonLocal
    phi_nl_weight: Tensor
    phi_nl_bias: Tensor


# ------------------------------------------------------------------------------------------------------- sums


def softmax(z: Tensor) -> Tensor:
    """Exponentials over their sum, for a vector; the maximum is taken out as a constant."""
    e = (z - float(z.detach().max())).exp()
    total = e[0] * 0
    for value in e:
        total = total + value
    return e / total


def norm(difference: Tensor, eps: float = 0.0) -> Tensor:
    """The root of (the sum of the squares of all elements + eps); neither squared nor averaged."""
    total = difference.sum() * 0
    for value in difference.reshape(-1):
        total = total + value**2
    return (total + eps).sqrt()


def mean_over_channels(sample: Tensor) -> Tensor:
    """(M, h, w) to (h, w)."""
    total = sample[0] * 0
    for m in range(sample.shape[0]):
        total = total + sample[m]
    return total / sample.shape[0]


def mean_over_positions(sample: Tensor) -> Tensor:
    """(M, h, w) to (M,)."""
    height, width = sample.shape[-2:]
    total = sample[:, 0, 0] * 0
    for y in range(height):
        for x in range(width):
            total = total + sample[:, y, x]
    return total / (height * width)


# -------------------------------------------------------------------------------------------------- attention


def spatial_mask(sample: Tensor, temperature: float) -> Tensor:
    """h w softmax(G_s / T) of one (M, h, w), with G_s the mean over channels of |F|; (h, w), sums to h w."""
    g = mean_over_channels(sample.abs())
    return (g.numel() * softmax(g.reshape(-1) / temperature)).reshape(g.shape)


def channel_mask(sample: Tensor, temperature: float) -> Tensor:
    """M softmax(G_c / T) of one (M, h, w), with G_c the mean over positions of |F|; (M,), sums to M."""
    g = mean_over_positions(sample.abs())
    return len(g) * softmax(g / temperature)


def am_of_level(
    raw_student: Tensor,
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float,
    use_channel_mask: bool,
    eps: float = 0.0,
) -> Tensor:
    """L_AM: the root of (the sum over the whole batch of (phi(S) - T)^2 m_s m_c, + eps).

    A mask is the mean of the teacher's and the raw student's, detached. Without the channel mask m_c is one.
    """
    t, raw = teacher.detach(), raw_student.detach()
    batch, channels, height, width = t.shape
    if use_channel_mask and raw.shape[1] != channels:
        raise ValueError("the channel mask averages student and teacher: it needs as many raw student channels")
    total = student.sum() * 0
    for b in range(batch):
        m_s = (spatial_mask(t[b], temperature) + spatial_mask(raw[b], temperature)) / 2
        m_c = torch.ones(channels, dtype=t.dtype, device=t.device)
        if use_channel_mask:
            m_c = (channel_mask(t[b], temperature) + channel_mask(raw[b], temperature)) / 2
        for m in range(channels):
            for y in range(height):
                for x in range(width):
                    total = total + (student[b, m, y, x] - t[b, m, y, x]) ** 2 * m_s[y, x] * m_c[m]
    return (total + eps).sqrt()


def at_channel_of_level(raw_student: Tensor, teacher: Tensor, weight: Tensor, bias: Tensor, eps: float = 0.0) -> Tensor:
    """L_ATc: || mean_hw T - Lin(mean_hw S) ||_2 over the batch; signed means. Lin is weight (M, M_s), bias (M,)."""
    t = teacher.detach()
    rows = []
    for b in range(t.shape[0]):
        pooled_teacher, pooled_student = mean_over_positions(t[b]), mean_over_positions(raw_student[b])
        for o in range(weight.shape[0]):
            value = bias[o]
            for m in range(weight.shape[1]):
                value = value + weight[o, m] * pooled_student[m]
            rows.append(pooled_teacher[o] - value)
    return norm(torch.stack(rows), eps)


def at_spatial_of_level(raw_student: Tensor, teacher: Tensor, weight: Tensor, bias: Tensor, eps: float = 0.0) -> Tensor:
    """L_ATs: || mean_c T - Conv3x3(mean_c S) ||_2 over the batch; signed means.

    The convolution has one channel, stride 1 and a ring of zeros: weight (3, 3), a scalar bias.
    """
    t = teacher.detach()
    height, width = t.shape[-2:]
    cells = []
    for b in range(t.shape[0]):
        pooled_teacher, pooled_student = mean_over_channels(t[b]), mean_over_channels(raw_student[b])
        for y in range(height):
            for x in range(width):
                value = bias
                for i in range(3):
                    for j in range(3):
                        row, column = y + i - 1, x + j - 1
                        if 0 <= row < height and 0 <= column < width:
                            value = value + weight[i, j] * pooled_student[row, column]
                cells.append(pooled_teacher[y, x] - value)
    return norm(torch.stack(cells), eps)


# -------------------------------------------------------------------------------------------------- non-local


def conv1x1(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(M, h, w) to (O, h, w) with weight (O, M) and bias (O,)."""
    outputs = []
    for o in range(weight.shape[0]):
        value = x[0] * 0 + bias[o]
        for m in range(weight.shape[1]):
            value = value + weight[o, m] * x[m]
        outputs.append(value)
    return torch.stack(outputs)


def max_pool(x: Tensor, size: int) -> Tensor:
    """(M, h, w) to (M, h // size, w // size): windows side by side; what does not fill a window is dropped."""
    rows = []
    for i in range(x.shape[1] // size):
        row = []
        for j in range(x.shape[2] // size):
            window = x[:, i * size : (i + 1) * size, j * size : (j + 1) * size]
            row.append(window.reshape(x.shape[0], -1).max(dim=1).values)
        rows.append(torch.stack(row, dim=1))
    return torch.stack(rows, dim=1)


def non_local_mean(x: Tensor, block: NonLocal) -> Tensor:
    """One (M, h, w): out(y), with y_p = (1 / n) sum over the n pooled positions q of (theta_p . phi_q) g_q."""
    inner, (height, width) = block.theta_weight.shape[0], x.shape[-2:]
    theta = conv1x1(x, block.theta_weight, block.theta_bias).reshape(inner, -1)
    phi = max_pool(conv1x1(x, block.phi_weight, block.phi_bias), block.sub_sample).reshape(inner, -1)
    g = max_pool(conv1x1(x, block.g_weight, block.g_bias), block.sub_sample).reshape(inner, -1)
    n = phi.shape[1]
    columns = []
    for p in range(height * width):
        y_p = theta[:, p] * 0
        for q in range(n):
            weight = theta[0, p] * 0
            for i in range(inner):
                weight = weight + theta[i, p] * phi[i, q]
            y_p = y_p + weight / n * g[:, q]
        columns.append(y_p)
    y = torch.stack(columns, dim=1).reshape(inner, height, width)
    return conv1x1(y, block.out_weight, block.out_bias)


def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> Tensor:
    """(B, M, h, w): each channel less its mean, over the root of its variance + eps, times gamma, plus beta."""
    batch, channels, height, width = x.shape
    n = batch * height * width
    columns = []
    for m in range(channels):
        values = x[:, m].reshape(-1)
        mean = values[0] * 0
        for value in values:
            mean = mean + value / n
        variance = values[0] * 0
        for value in values:
            variance = variance + (value - mean) ** 2 / n
        columns.append(((values - mean) / (variance + eps).sqrt() * gamma[m] + beta[m]).reshape(batch, height, width))
    return torch.stack(columns, dim=1)


def non_local(x: Tensor, block: NonLocal) -> Tensor:
    """NL of a batch (B, M, h, w): x + BN(out(y)); the batch norm is that of training, over the whole batch."""
    y = torch.stack([non_local_mean(sample, block) for sample in x])
    return x + batch_norm(y, block.gamma, block.beta)


def nl_of_level(
    raw_student: Tensor,
    teacher: Tensor,
    nl_student: NonLocal,
    nl_teacher: NonLocal,
    phi_weight: Tensor,
    phi_bias: Tensor,
    eps: float = 0.0,
) -> Tensor:
    """L_NL: || NL_t(T) - phi_nl(NL_s(S)) ||_2 over the batch; phi_nl is weight (M, M_s), bias (M,)."""
    of_student, of_teacher = non_local(raw_student, nl_student), non_local(teacher.detach(), nl_teacher)
    adapted = [conv1x1(sample, phi_weight, phi_bias) for sample in of_student]
    return norm(of_teacher - torch.stack(adapted), eps)


# ------------------------------------------------------------------------------------------------------ total


def fkd(
    raw_student: Sequence[Tensor],
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    parts: Sequence[Parts],
    *,
    temperature: float,
    use_channel_mask: bool,
    eps: float = 0.0,
) -> dict[str, Tensor]:
    """The terms "am", "at_channel", "at_spatial" and "nl", each summed over the levels, unweighted."""
    zero = student[0].sum() * 0
    out = {"am": zero, "at_channel": zero, "at_spatial": zero, "nl": zero}
    for raw, s, t, p in zip(raw_student, student, teacher, parts, strict=True):
        out["am"] = out["am"] + am_of_level(
            raw, s, t, temperature=temperature, use_channel_mask=use_channel_mask, eps=eps
        )
        out["at_channel"] = out["at_channel"] + at_channel_of_level(raw, t, p.lin_weight, p.lin_bias, eps)
        out["at_spatial"] = out["at_spatial"] + at_spatial_of_level(raw, t, p.conv_weight, p.conv_bias, eps)
        out["nl"] = out["nl"] + nl_of_level(raw, t, p.nl_student, p.nl_teacher, p.phi_nl_weight, p.phi_nl_bias, eps)
    return out


def weighted(terms: Mapping[str, Tensor], *, am: float, at: float, nl: float) -> Tensor:
    """am L_AM + at (L_ATc + L_ATs) + nl L_NL."""
    return am * terms["am"] + at * (terms["at_channel"] + terms["at_spatial"]) + nl * terms["nl"]
