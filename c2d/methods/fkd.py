"""FKD: Improve Object Detection with Feature-based Knowledge Distillation. Zhang, Ma, ICLR 2021.

https://openreview.net/forum?id=uKhGRvM8QNH ("Towards Accurate and Efficient Detectors"; also called FBKD). Attention
selects where and in which channels the student imitates; non-local blocks transfer the relations between positions.

    G_s(F) = mean_c |F|          m_s = h w softmax(G_s / T)       mean of teacher's and student's, per sample
    G_c(F) = mean_hw |F|         m_c = M softmax(G_c / T)         likewise; without a channel mask m_c = 1
    am          L_AM  = sqrt( sum m_s m_c (phi(S) - T)^2 )
    at_channel  L_ATc = || mean_hw T - Lin(mean_hw S) ||_2
    at_spatial  L_ATs = || mean_c T - Conv3x3(mean_c S) ||_2
    nl          L_NL  = || NL_t(T) - phi_nl(NL_s(S)) ||_2
    L = alpha L_AM + beta (L_ATc + L_ATs) + gamma L_NL            per neck level, summed

A norm is the root of the sum over the whole batch: nothing is squared or averaged, so it grows like the root of the
batch size. Attention and pooled means (signed) are those of the raw student. NL(x) = x + BN(W (phi^T g) theta / n) is
a dot-product block over n sub-sampled positions, W a 1x1 convolution and BN a batch norm whose gamma starts at 0, so
that NL(x) = x at first; the student's and the teacher's are both trained, the latter by L_NL alone, and could in
principle collapse together.

Departures from the paper or the released code:
  * Values of T, the weights and the channel mask are those of copies of the authors' code, per detector; the paper's
    could not be confirmed (unverified). They are remembered as T = 0.1, 7e-5, 4e-3, 7e-5 (two-stage) and T = 0.5,
    4e-4, 2e-2, 4e-4 (one-stage): the temperatures are exchanged.
  * eps inside each root: its gradient at equality would be infinite.
  * Under several GPUs each has the batch statistics of its own images, as released. A single value per channel (one
    image on a 1x1 map) has no variance: it counts as its mean; torch's layer raises an error there.
  * (phi^T g) is formed first: equal in value, linear instead of quadratic in the positions.
  * Sub-sampling (one max-pooling after phi and g, as in the authors' files; mmrazor pools twice) is 8 and 4 with M/4
    inner channels on the two finest levels used, else 2 with M/2; never larger than the map.
  * Where student and teacher differ in width the channel mask is the teacher's alone; where they differ in size the
    student's map is resized first.
  * All levels that both have, where a re-implementation takes four. One copy has a classification term on RoIs, which
    is left out: whether it is ever used is unknown.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from c2d.detectors.outputs import Needs
from c2d.methods.base import Context, Distiller, Params, Term, View, Visualization, unverified
from c2d.ops.adapters import FeatureAdapter, conv_adapter, identity_adapter, pair_levels, resize_to

UNSURE = unverified("from copies of the authors' code; the paper's value was not confirmed")
EPS = 1e-12


class FKDParams(Params):
    """The paper's symbols; null takes the value that copies of the authors' code have for the kind of detector."""

    BY_DETECTOR: ClassVar = {
        "two-stage": {"T": 0.5, "alpha": 7e-5, "beta": 4e-3, "gamma": 7e-5, "channel_mask": False},
        "one-stage": {"T": 0.1, "alpha": 4.2e-4, "beta": 2.4e-2, "gamma": 4.2e-4, "channel_mask": True},
    }

    T: float | None = Field(
        default=None, gt=0, description="temperature of the masks; null: 0.1, of two-stage detectors 0.5",
        json_schema_extra=UNSURE,
    )  # fmt: skip
    alpha: float | None = Field(
        default=None, ge=0, description="weight of L_AM; null: 4.2e-4, of two-stage detectors 7e-5",
        json_schema_extra=UNSURE,
    )  # fmt: skip
    beta: float | None = Field(
        default=None, ge=0, description="weight of L_ATc and L_ATs; null: 2.4e-2, of two-stage detectors 4e-3",
        json_schema_extra=UNSURE,
    )  # fmt: skip
    gamma: float | None = Field(
        default=None, ge=0, description="weight of L_NL; null: 4.2e-4, of two-stage detectors 7e-5",
        json_schema_extra=UNSURE,
    )  # fmt: skip
    channel_mask: bool | None = Field(
        default=None, description="whether L_AM has m_c; null: yes, of two-stage detectors no", json_schema_extra=UNSURE
    )
    levels: tuple[int, ...] | None = Field(
        default=None, description="strides of the neck levels, e.g. [8, 16, 32]; null: all that both have"
    )


class FKD(Distiller):
    """Every detector; the teacher may be of another family. Terms `am`, `at_channel`, `at_spatial`, `nl`."""

    NAME = "fkd"
    VERSION = 2
    TEACHERS = ("detector",)
    Params = FKDParams
    WEIGHTS: ClassVar = {"am": "alpha", "at_channel": "beta", "at_spatial": "beta", "nl": "gamma"}
    COST = "teacher to its neck; two non-local blocks on every level, linear in its positions"
    SOURCE = "copies of the authors' code and a re-implementation (mmrazor); paper's values from memory"
    needs = Needs(neck=True)

    def __init__(self, params: FKDParams, context: Context) -> None:
        student, teacher = context.layouts(self.NAME)
        super().__init__(params.with_detector_values(student))
        p = self.params
        self.weights = {term: getattr(p, name) for term, name in self.WEIGHTS.items() if getattr(p, name) > 0}
        pairs = pair_levels(self.NAME, student.neck, teacher.neck, p.levels)
        self.phi = FeatureAdapter(
            pairs, conv_adapter(1) if "am" in self.weights else identity_adapter, "by a 1x1 convolution"
        )
        widths = [(pair.student.channels, pair.teacher.channels) for pair in pairs]
        self.blocks = nn.ModuleList(self._blocks(place, *width) for place, width in enumerate(widths))
        values = ", ".join(f"{name} {getattr(p, name)}" for name in p.BY_DETECTOR[student.stages])
        self.notes += [f"{student.detector}: {values}", *self.phi.notes]
        if p.channel_mask and any(s != t for s, t in widths):
            self.notes.append("where the widths differ, the channel mask is the teacher's alone")

    def _blocks(self, place: int, of_s: int, of_t: int) -> nn.ModuleDict:
        """Other modules of one level: only those that a term uses, because DDP waits for every gradient."""
        layers: dict[str, nn.Module] = {}
        if "at_channel" in self.weights:
            layers |= {"lin": nn.Linear(of_s, of_t), "conv": nn.Conv2d(1, 1, 3, padding=1)}
        if "nl" in self.weights:
            # (M over the inner channels, pooling step) of the finest two levels, and of all coarser ones.
            share, step = ((4, 8), (4, 4), (2, 2))[min(place, 2)]
            layers |= {f"nl_{who}": NonLocal(m, max(m // share, 1), step) for who, m in (("s", of_s), ("t", of_t))}
            layers["phi_nl"] = nn.Conv2d(of_s, of_t, 1)
        return nn.ModuleDict(layers)

    def forward(self, view: View) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compute L_AM, L_ATc, L_ATs and L_NL of every level.

        Args:
            view: one training step, with the neck maps (B, M, h, w) of student and teacher.

        Returns:
            Scalars in fp32: the trained terms with a weight above 0, each the sum over levels; observed: the peak
            of m_s, mean over images and levels.
        """
        raw = self.phi.raw(view.student, view.teacher)
        levels = [self._level(place, *maps) for place, maps in enumerate(raw)]
        sums = {term: torch.stack([level[term] for level in levels]).sum() for term in self.weights}
        terms = {term: Term(sums[term], weight) for term, weight in self.weights.items()}
        peaks = [mask.detach().amax((1, 2)).mean() for mask in self._masks(raw)]
        return terms, {"mask_peak": torch.stack(peaks).mean()}

    def visualize(self, view: View) -> list[Visualization]:
        """Show m_s of every level."""
        masks = self._masks(self.phi.raw(view.student, view.teacher))
        named = zip(self.phi.strides, masks, strict=True)
        return [Visualization(f"attention, stride {stride}", heat=mask.detach()) for stride, mask in named]

    def _level(self, place: int, s: Tensor, t: Tensor) -> dict[str, Tensor]:
        """The unweighted terms of one level."""
        p, phi, block = self.params, self.phi.phi[place], cast(nn.ModuleDict, self.blocks[place])
        s, norms = resize_to(s, t), {}
        if "am" in self.weights:
            m_c = channel_mask(s, t, p.T) if p.channel_mask else None
            norms["am"] = masked_distance(phi(s), t, spatial_mask(s, t, p.T), m_c)
        if "at_channel" in self.weights:
            norms["at_channel"] = norm(t.mean((2, 3)) - block["lin"](s.mean((2, 3))))
            norms["at_spatial"] = norm(t.mean(1, keepdim=True) - block["conv"](s.mean(1, keepdim=True)))
        if "nl" in self.weights:
            norms["nl"] = norm(block["nl_t"](t) - block["phi_nl"](block["nl_s"](s)))
        return norms

    def _masks(self, raw: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        return [spatial_mask(resize_to(s, t), t, self.params.T) for s, t in raw]


# ---------------------------------------------------------------------------------------------------------------------
# Masks


def spatial_attention(maps: Tensor, T: float) -> Tensor:
    """h w softmax(mean_c |F| / T): (B, M, h, w) -> (B, h, w), every sample sums to h w."""
    strength = maps.abs().mean(1)
    return strength.numel() / len(strength) * (strength / T).flatten(1).softmax(1).view_as(strength)


def channel_attention(maps: Tensor, T: float) -> Tensor:
    """M softmax(mean_hw |F| / T): (B, M, h, w) -> (B, M), every sample sums to M."""
    return maps.shape[1] * (maps.abs().mean((2, 3)) / T).softmax(1)


def spatial_mask(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """m_s (B, h, w) of the raw student's and the teacher's maps, without a graph."""
    return (spatial_attention(student.detach(), T) + spatial_attention(teacher, T)) / 2


def channel_mask(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """m_c (B, M) likewise; the teacher's alone where the student has other channels."""
    of_t = channel_attention(teacher, T)
    if student.shape[1] != teacher.shape[1]:
        return of_t
    return (channel_attention(student.detach(), T) + of_t) / 2


# ---------------------------------------------------------------------------------------------------------------------
# Adaptation


class NonLocal(nn.Module):
    """NL: a dot-product non-local block with `inner` channels that pools by `step`; the identity at first.

    Training takes the batch norm's statistics from each batch; the running ones are kept as buffers, as in any layer.
    """

    def __init__(self, channels: int, inner: int, step: int) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn.weight)  # gamma; beta is 0 by default
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """Add the normalised non-local mean to every position.

        Args:
            x: (B, M, h, w).

        Returns:
            (B, M, h, w): NL(x).
        """
        step = min(self.step, *x.shape[-2:])  # a coarse map may be smaller than the window
        phi, g = (F.max_pool2d(layer(x), step).flatten(2) for layer in (self.phi, self.g))
        y = self.out(non_local_mean(self.theta(x).flatten(2), phi, g).unflatten(2, x.shape[-2:]))
        if self.training and x.numel() == x.shape[1]:
            # One value per channel: its difference from the mean is 0, with a graph, which DDP waits for.
            return x + (y - y) * self.bn.weight[:, None, None] + self.bn.bias[:, None, None]
        return x + self.bn(y)


def non_local_mean(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    """y_p = (1/n) sum_q (theta_p . phi_q) g_q: (B, I, N), (B, I, n), (B, I, n) -> (B, I, N)."""
    # g phi^T is (I, I); in the other order the product over positions would be (N, n).
    return g @ phi.mT / phi.shape[2] @ theta


# ---------------------------------------------------------------------------------------------------------------------
# Losses


def norm(difference: Tensor) -> Tensor:
    """|| . ||_2 of a whole batch tensor, of any shape."""
    return (difference.square().sum() + EPS).sqrt()  # the gradient of sqrt is infinite at 0


def masked_distance(student: Tensor, teacher: Tensor, m_s: Tensor, m_c: Tensor | None) -> Tensor:
    """L_AM of (B, M, h, w) and (B, M, h, w) under masks (B, h, w) and (B, M)."""
    squared = (student - teacher).square()
    over_channels = squared.sum(1) if m_c is None else torch.einsum("bmhw,bm->bhw", squared, m_c)
    return ((m_s * over_channels).sum() + EPS).sqrt()
