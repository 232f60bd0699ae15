"""Which level of the student learns from which level of the teacher, and how their maps are made comparable.

Levels pair by stride, never by index: P3 of one detector may be the first map and of another the second. What was
chosen is said in `notes`; what cannot work names the layers, both shapes and the closest that would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.layout import DetectorLayout, HeadLayout, Level
from c2d.detectors.outputs import DetectorOutputs


class Pair(NamedTuple):
    """A level of the student and one of the teacher with the same stride; `s` and `t` are their places."""

    s: int
    t: int
    student: Level
    teacher: Level

    @property
    def stride(self) -> int:
        return self.student.stride


def pair_levels(
    method: str, student: Sequence[Level], teacher: Sequence[Level], strides: Sequence[int] | None = None
) -> list[Pair]:
    """Levels of equal stride, finest first.

    Args:
        method: for messages.
        strides: px per cell of the levels to use; None: every stride that both have.

    Raises:
        InputError: a stride asked for that one of them lacks, or none in common.
    """
    at_s, at_t = ({level.stride: place for place, level in enumerate(levels)} for levels in (student, teacher))
    common = [stride for stride in at_s if stride in at_t]
    for stride in strides if strides is not None else ():
        if stride not in at_s or stride not in at_t:
            lacks = "student" if stride not in at_s else "teacher"
            raise InputError(
                f"{method}: no level of stride {stride} in the {lacks}; {_levels(student, teacher)}; "
                f"closest that both have: {_closest(stride, common)}"
            )
    chosen = common if strides is None else sorted(set(strides))
    if not chosen:
        raise InputError(
            f"{method}: student and teacher have no stride in common; {_levels(student, teacher)}; "
            "choose a teacher whose pyramid begins where the student's does"
        )
    return [Pair(at_s[stride], at_t[stride], student[at_s[stride]], teacher[at_t[stride]]) for stride in chosen]


def same_heads(method: str, student: DetectorLayout, teacher: DetectorLayout, remedy: str) -> HeadLayout:
    """The layout of both dense heads, which has to be one and the same: prediction r of one answers r of the other.

    Args:
        remedy: what the user can do, for the message.

    Raises:
        InputError: a head cannot be read, or logits, priors, box numbers or strides differ.
    """
    ours, theirs = student.dense, teacher.dense
    if ours is None or theirs is None:
        who, layout = ("student", student) if ours is None else ("teacher", teacher)
        raise InputError(f"{method}: the dense head of the {who} ({layout.detector}) cannot be read; {remedy}")
    if replace(ours, layer="") != replace(theirs, layer=""):
        raise InputError(
            f"{method} compares the dense heads prediction by prediction, and they differ; student: {ours}; "
            f"teacher: {theirs}; {remedy}"
        )
    return ours


def _levels(student: Sequence[Level], teacher: Sequence[Level]) -> str:
    return f"student: {', '.join(map(str, student))}; teacher: {', '.join(map(str, teacher))}"


def _closest(stride: int, common: Sequence[int]) -> str:
    near = sorted(common, key=lambda other: abs(other - stride))[:3]
    return ", ".join(f"stride {other}" for other in sorted(near)) or "none"


Make = Callable[[int, int], nn.Module]


class PairedMaps(nn.Module):
    """phi: the student's maps in the teacher's channels and size, level by level.

    Args:
        pairs: from `pair_levels`.
        make: (channels of the student, of the teacher) -> the adaptation layer of one level.
        what: the layer in words, for the notes.
        source: `neck` or `backbone`.
        shared: one layer for all levels; their channel counts have to be equal.
    """

    def __init__(
        self, pairs: Sequence[Pair], make: Make, what: str, source: str = "neck", shared: bool = False
    ) -> None:
        super().__init__()
        self.pairs, self.source = tuple(pairs), source
        widths = [(pair.student.channels, pair.teacher.channels) for pair in pairs]
        if shared and len(set(widths)) > 1:
            raise InputError(
                f"one layer cannot serve levels of different width: "
                f"{_levels([p.student for p in pairs], [p.teacher for p in pairs])}"
            )
        layers = [make(*width) for width in (widths[:1] if shared else widths)]
        self.phi = nn.ModuleList(layers * len(pairs) if shared else layers)
        self.notes = [_note(pair, layer, what) for pair, layer in zip(self.pairs, self.phi, strict=True)]

    @property
    def strides(self) -> list[int]:
        """px per cell of each pair."""
        return [pair.stride for pair in self.pairs]

    def forward(self, student: DetectorOutputs, teacher: DetectorOutputs) -> list[tuple[Tensor, Tensor]]:
        """Per pair (phi(S), T): both (B, M_t, h_t, w_t) fp32; T carries no graph."""
        return [(resized(phi(s), t), t) for phi, (s, t) in zip(self.phi, self.raw(student, teacher), strict=True)]

    def raw(self, student: DetectorOutputs, teacher: DetectorOutputs) -> list[tuple[Tensor, Tensor]]:
        """Per pair (S, T) as the detectors gave them."""
        of_s, of_t = getattr(student, self.source), getattr(teacher, self.source)
        return [(of_s[pair.s], of_t[pair.t].detach()) for pair in self.pairs]


def resized(maps: Tensor, like: Tensor) -> Tensor:
    """Maps in the size of `like`, bilinear; as they are where the sizes agree."""
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _note(pair: Pair, layer: nn.Module, what: str) -> str:
    by = "as it is" if isinstance(layer, nn.Identity) else what
    size = "" if pair.student.size == pair.teacher.size else ", resized bilinearly"
    return f"stride {pair.stride}: student {pair.student.layer} -> teacher {pair.teacher.layer}, " \
           f"{pair.student.channels} -> {pair.teacher.channels} channels {by}{size}"  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Adaptation layers


def conv(kernel: int, relu: bool = False, init: str = "default") -> Make:
    """A convolution with bias and the padding that keeps the size.

    Args:
        relu: with a ReLU behind it.
        init: `default` (torch's), or `small`: normal, cut at two standard deviations, times 1e-4, bias 0.
    """

    def make(student: int, teacher: int) -> nn.Module:
        layer = nn.Conv2d(student, teacher, kernel, padding=kernel // 2)
        if init == "small":
            nn.init.trunc_normal_(layer.weight, std=1.0, a=-2.0, b=2.0)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
            with torch.no_grad():
                layer.weight.mul_(1e-4)
        return nn.Sequential(layer, nn.ReLU()) if relu else layer

    return make


def conv_where_needed(kernel: int = 1) -> Make:
    """A convolution where the channel counts differ, else nothing."""

    def make(student: int, teacher: int) -> nn.Module:
        return nn.Identity() if student == teacher else conv(kernel)(student, teacher)

    return make


def nothing(student: int, teacher: int) -> nn.Module:
    """No layer: for methods that allow any channel counts."""
    return nn.Identity()
