"""A slow, literal MasKD: one loop per sum, nothing shared with the production code.

"Masked Distillation with Receptive Tokens", ICLR 2023, arXiv 2205.14589. Every image, token, cell and channel is
visited by a Python loop, in the dtype of the input. The student's maps are adapted already. It imports nothing of the
package it checks.
"""

from __future__ import annotations

from torch import Tensor


def mask(token: Tensor, cell: Tensor) -> Tensor:
    """1 / (1 + exp(-token . cell)) of a token (M,) and the channels (M,) of a cell."""
    product = token.sum() * 0
    for c in range(len(token)):
        product = product + token[c] * cell[c]
    return 1 / (1 + (-product).exp())


def masks(tokens: Tensor, maps: Tensor) -> dict[tuple[int, int, int, int], Tensor]:
    """{(image, token, row, column): mask} of tokens (N, M) on maps (B, M, h, w)."""
    batch, _, height, width = maps.shape
    return {
        (b, n, row, col): mask(tokens[n], maps[b, :, row, col])
        for b in range(batch)
        for n in range(len(tokens))
        for row in range(height)
        for col in range(width)
    }


def shares(maps: Tensor, weight3: Tensor, bias3: Tensor, weight1: Tensor, bias1: Tensor) -> list[list[Tensor]]:
    """Shares of each image and token: softmax of a 1x1 layer of the mean of a 3x3 convolution with zero padding."""
    batch, channels, height, width = maps.shape
    found = []
    for b in range(batch):
        context = []
        for out in range(channels):
            total = maps.sum() * 0
            for row in range(height):
                for col in range(width):
                    total = total + bias3[out]
                    for down in (-1, 0, 1):
                        for right in (-1, 0, 1):
                            y, x = row + down, col + right
                            if 0 <= y < height and 0 <= x < width:
                                total = total + (weight3[out, :, down + 1, right + 1] * maps[b, :, y, x]).sum()
            context.append(total / (height * width))
        logits = []
        for n in range(len(bias1)):
            value = bias1[n]
            for c in range(channels):
                value = value + weight1[n, c, 0, 0] * context[c]
            logits.append(value)
        powers = [value.exp() for value in logits]
        found.append([power / sum(powers[1:], powers[0]) for power in powers])
    return found


def feat(student: Tensor, teacher: Tensor, tokens: Tensor, share: list[list[Tensor]], custom: bool) -> Tensor:
    """The imitation under the masks on one level; `custom` multiplies them by the student's own, as constants."""
    batch, channels, height, width = student.shape
    of_teacher, of_student = masks(tokens, teacher), masks(tokens, student.detach())
    total = student.sum() * 0
    for b in range(batch):
        for n in range(len(tokens)):
            distance, area = student.sum() * 0, 0.0
            for row in range(height):
                for col in range(width):
                    m = float(of_teacher[(b, n, row, col)].detach())
                    if custom:
                        m *= float(of_student[(b, n, row, col)])
                    area += m
                    for c in range(channels):
                        distance = distance + (m * student[b, c, row, col] - m * teacher[b, c, row, col]) ** 2
            total = total + float(share[b][n].detach()) * distance / channels / area
    return total / batch


def dice(maps: Tensor, tokens: Tensor) -> Tensor:
    """Mean Dice coefficient of the masks of two different tokens, over images and ordered pairs."""
    batch, _, height, width = maps.shape
    of, total, pairs = masks(tokens, maps), tokens.sum() * 0, 0
    for b in range(batch):
        for n in range(len(tokens)):
            for k in range(len(tokens)):
                if n == k:
                    continue
                both = first = second = tokens.sum() * 0
                for row in range(height):
                    for col in range(width):
                        x, y = of[(b, n, row, col)], of[(b, k, row, col)]
                        both, first, second = both + x * y, first + x * x, second + y * y
                total, pairs = total + 2 * both / (first + second), pairs + 1
    return total / pairs


def masked(maps: Tensor, tokens: Tensor, share: list[list[Tensor]]) -> Tensor:
    """The maps that the teacher's head sees while the tokens are learnt."""
    of, rows = masks(tokens, maps), maps.clone()
    batch, _, height, width = maps.shape
    for b in range(batch):
        for row in range(height):
            for col in range(width):
                factor = share[b][0] * of[(b, 0, row, col)]
                for n in range(1, len(tokens)):
                    factor = factor + share[b][n] * of[(b, n, row, col)]
                rows[b, :, row, col] = factor * maps[b, :, row, col]
    return rows
