"""MasKD: Masked Distillation with Receptive Tokens. Huang, Zhang, You, Wang, Qian, Cao, Xu, ICLR 2023.

https://arxiv.org/abs/2205.14589. Learnt tokens select the cells of the teacher's maps that matter for its own task, and
the student imitates the maps under the masks of these tokens. Per neck level, N tokens e_n of the teacher's width:

    m_n(F) = sigmoid(e_n . F) in every cell
    p      = softmax over n of conv1x1(mean over cells of conv3x3(T))                      shares of the masks
    tokens = L_task of the teacher on the maps  sum_n p_n m_n(T) T  +  mu sum over levels of Dice
    Dice   = mean over images and pairs n != k of  2 m_n.m_k / (m_n.m_n + m_k.m_k)
    feat   = mean over images of sum_n p_n [ mean_c sum_cells m_n^2 (phi(S) - T)^2 / sum_cells m_n ]

levels summed. `tokens` trains the tokens and the layers of p alone, for the first `token_iterations`; then they are
fixed. From `custom_from` on the masks of feat are m_n(T) m_n(phi(S)), without a gradient to the student. phi is a 1x1
convolution on every level.

Departures from the paper or the released code:
  * Tokens are learnt in a stage of their own before, by another optimiser (Adam 0.01 for RetinaNet, SGD 0.1 for Faster
    R-CNN, 2000 iterations). Here they are learnt in the first iterations of the same run, by its optimiser; feat uses
    them from the start, as they are, without a gradient to them. At first all masks are nearly 0.5.
  * The settings for RetinaNet and Faster R-CNN add an L1 distance of the heads' box outputs; here it is left out.
  * SSD, ATSS and GFL get the values of RetinaNet, Cascade R-CNN those of Faster R-CNN.
  * The student's neck and head are not started from the teacher's weights here; `init: teacher` does that.
"""

from __future__ import annotations

import copy
import math
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import FeatureAdapter, conv_adapter, pair_levels

MORE = unverified("released for RetinaNet, FCOS and Faster R-CNN; ours for others")


class MasKDParams(Params):
    """Null takes the value of the released settings for the kind of detector."""

    BY_DETECTOR: ClassVar = {
        "one-stage": {"lambda_kd": 7.0, "custom_from": 7000},
        "fcos": {"lambda_kd": 10.0, "custom_from": 5000},
        "two-stage": {"lambda_kd": 1.0, "custom_from": 7330},
    }

    tokens: int = Field(default=6, gt=1, description="N, tokens of each level; as released")
    lambda_kd: float | None = Field(
        default=None, ge=0, description="weight of feat; null: 7, of FCOS 10, of two-stage detectors 1 (released)",
        json_schema_extra=MORE,
    )  # fmt: skip
    lambda_tokens: float = Field(
        default=1.0, gt=0, description="weight of the loss of the tokens: a factor on their learning rate",
        json_schema_extra=unverified("ours: the authors learn the tokens by another optimiser"),
    )  # fmt: skip
    mu: float = Field(default=1.0, ge=0, description="weight of Dice in the loss of the tokens; as released")
    token_iterations: int = Field(
        default=2000, ge=0, description="iterations from `start` in which the tokens are learnt; as released"
    )
    custom_from: int | None = Field(
        default=None, ge=0, json_schema_extra=MORE,
        description="iterations from `start` before the student's masks are factors; null: 7000, of FCOS 5000, of "
        "two-stage detectors 7330 (released)",
    )  # fmt: skip
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )


class MasKD(Distiller):
    """Every detector, under a teacher whose own loss can be computed. Terms `feat` and `tokens`."""

    NAME = "maskd"
    VERSION = 1
    TEACHERS = ("detector",)
    Params = MasKDParams
    WEIGHTS: ClassVar = {"feat": "lambda_kd", "tokens": "lambda_tokens"}
    GATED = ("tokens",)  # it trains the tokens, not the student, and ends
    COST = "teacher to its neck; in the first iterations its head, forward and backward; a 1x1 convolution a level"
    SOURCE = "the authors' released code and settings (hunto/MasKD)"
    needs = Needs(neck=True)
    is_fixed: Tensor

    def __init__(self, params: MasKDParams, context: Context) -> None:
        """Pair the levels, and create the tokens.

        Raises:
            InputError: there is no detector teacher, its loss cannot be computed, or lambda_kd is 0.
        """
        student, teacher = context.layouts(self.NAME)
        super().__init__(params.with_detector_values(student))
        p = self.params
        if p.lambda_kd == 0:
            raise InputError("maskd without feat teaches the tokens alone; give method.maskd.lambda_kd a value above 0")
        if teacher.dense is None and p.token_iterations > 0:
            raise InputError(
                f"maskd learns tokens by the teacher's own loss, and that of {teacher.detector} cannot be computed; "
                "choose a teacher of a dense or two-stage family"
            )
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, p.levels)
        self.phi = FeatureAdapter(pairs, conv_adapter(1), "by a 1x1 convolution")
        self.tokens = nn.ModuleList(TokenMasks(pair.teacher.channels, p.tokens) for pair in pairs)
        # What feat uses after `token_iterations`: no parameter of the optimiser, whose weight decay would go on.
        self.fixed = copy.deepcopy(self.tokens).requires_grad_(False)
        self.register_buffer("is_fixed", torch.tensor(False))
        self.iterations = context.iterations
        self.notes += [f"{student.detector}: lambda {p.lambda_kd}, student's masks from {p.custom_from}",
                       *self.phi.notes]  # fmt: skip
        if p.start + p.token_iterations >= context.iterations:
            self.notes.append(f"the tokens are learnt until the end of this run, {context.iterations} iterations")

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute `feat`, and while the tokens are learnt `tokens`.

        Args:
            view: one training step: neck maps (B, M, h, w) of both, and the ground truth.

        Returns:
            Scalars in fp32: the trained terms; observed: the mean of the teacher's masks, and Dice, mean over levels.
        """
        p = self.params
        iteration = round(view.progress * self.iterations) - p.start
        pairs, learning = self.phi(view.student, view.teacher), iteration < p.token_iterations
        if not learning and not self.is_fixed:
            self.fixed.load_state_dict(self.tokens.state_dict())
            self.is_fixed.fill_(True)
        used = self._levels(fixed=not learning)
        custom = iteration >= p.custom_from
        feat = torch.stack([self._distance(one, s, t, custom) for one, (s, t) in zip(used, pairs, strict=True)]).sum()
        masks = [one.masks(t) for one, (_, t) in zip(used, pairs, strict=True)]
        dice = torch.stack([mean_dice(m) for m in masks])
        loss = self._token_loss(view, dice) if learning else 0 * _sum(self.tokens)
        seen = {"mask": torch.stack([m.mean() for m in masks]).mean(), "dice": dice.mean()}
        return {"feat": Term(feat, p.lambda_kd), "tokens": Term(loss, p.lambda_tokens)}, seen

    def visualize(self, view: View) -> list[Visualization]:
        """Show the teacher's masks, weighted by their shares, on every level."""
        shown = []
        used, maps = self._levels(bool(self.is_fixed)), self.phi.raw(view.student, view.teacher)
        for stride, one, (_, t) in zip(self.phi.strides, used, maps, strict=True):
            shown.append(Visualization(f"tokens' mask, stride {stride}", heat=one.whole(t).detach()))
        return shown

    def _levels(self, fixed: bool) -> list[TokenMasks]:
        return [cast(TokenMasks, one) for one in (self.fixed if fixed else self.tokens)]

    def _distance(self, tokens: TokenMasks, student: Tensor, teacher: Tensor, custom: bool) -> Tensor:
        with torch.no_grad():
            masks, shares = tokens.masks(teacher), tokens.shares(teacher)
            if custom:
                masks = masks * tokens.masks(student)
        return masked_distance(student, teacher, masks, shares)

    def _token_loss(self, view: View, dice: Tensor) -> Tensor:
        """L_task of the teacher on its masked maps, and mu times the sum of Dice."""
        maps = [one.detach() for one in view.teacher.neck]
        for pair, one in zip(self.phi.pairs, self._levels(fixed=False), strict=True):
            maps[pair.t] = one.whole(maps[pair.t])[:, None] * maps[pair.t]
        seed = int(torch.randint(2**31, (), generator=view.generator))
        return view.detector.losses_on_maps(maps, view.batch, seed) + self.params.mu * dice.sum()


class TokenMasks(nn.Module):
    """Tokens of one level, and the layers that give each of their masks a share."""

    def __init__(self, channels: int, tokens: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(tokens, channels) * 0.01)
        self.context = nn.Conv2d(channels, channels, 3, padding=1)
        self.share = nn.Conv2d(channels, tokens, 1)
        for layer in (self.context, self.share):  # as released: He's normal of the fan-out, bias 0
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def masks(self, maps: Tensor) -> Tensor:
        """m: (B, M, h, w) -> (B, N, h, w)."""
        return torch.einsum("nm,bmhw->bnhw", self.token, maps).sigmoid()

    def shares(self, maps: Tensor) -> Tensor:
        """p: (B, M, h, w) -> (B, N), rows sum to 1."""
        return self.share(self.context(maps).mean((2, 3), keepdim=True)).flatten(1).softmax(1)

    def whole(self, maps: Tensor) -> Tensor:
        """Sum over n of p_n m_n: (B, M, h, w) -> (B, h, w)."""
        return (self.shares(maps)[..., None, None] * self.masks(maps)).sum(1)


def masked_distance(student: Tensor, teacher: Tensor, masks: Tensor, shares: Tensor) -> Tensor:
    """feat of one level: a scalar, of maps (B, M, h, w), masks (B, N, h, w) and shares (B, N)."""
    # The mask enters squared, because masked maps are compared; no map is repeated over the tokens.
    square = (student - teacher).square().mean(1)
    per_token = torch.einsum("bnhw,bhw->bn", masks.square(), square) / masks.sum((2, 3))
    return (shares * per_token).sum(1).mean()


def mean_dice(masks: Tensor) -> Tensor:
    """Dice of masks (B, N, h, w): a scalar, mean over images and pairs of different tokens."""
    flat = masks.flatten(2)
    products = flat @ flat.transpose(1, 2)
    own = products.diagonal(dim1=1, dim2=2)
    dice = 2 * products / (own[:, :, None] + own[:, None, :] + 2e-12)
    count = masks.shape[1]
    return (dice.sum((1, 2)) - dice.diagonal(dim1=1, dim2=2).sum(1)).mean() / (count * (count - 1))


def _sum(module: nn.Module) -> Tensor:
    """Sum of all weights: with the factor 0, DDP has a gradient for each."""
    return torch.stack([weight.sum() for weight in module.parameters()]).sum()
