"""Adapters between feature maps: pair the levels of student and teacher, and map the student's channels and size.

Levels pair by stride, never by index: P3 of one detector may be the first map and of another the second. Pairs are
finest first, whatever the order of the maps: YOLOv3's neck returns strides 32, 16, 8. Methods that count levels from
the finest (level assignment of boxes, sub-sampling) take their order from the pairs. `notes` describe the pairs; errors
name the layers, both shapes and the closest strides that would work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.outputs import DetectorOutputs
from c2d.detectors.recording.layout import DetectorLayout, HeadLayout, Level

LayerFactory = Callable[[int, int], nn.Module]
"""(channels of the student, channels of the teacher) -> the adapter of one level."""


class LevelPair(NamedTuple):
    """A level of the student and a level of the teacher with the same stride.

    Attributes:
        s, t: their indices among the maps of the student and of the teacher.
        student, teacher: the levels.
    """

    s: int
    t: int
    student: Level
    teacher: Level

    @property
    def stride(self) -> int:
        """Px per cell, the same for both."""
        return self.student.stride


def pair_levels(
    method: str,
    student: Sequence[Level],
    teacher: Sequence[Level],
    strides: Sequence[int] | None = None,
    finest: int | None = None,
) -> list[LevelPair]:
    """Pair levels of equal stride, finest first.

    Args:
        method: name for messages.
        student, teacher: their levels.
        strides: px per cell of the levels to use; None: every stride that both have.
        finest: without `strides`, at most this number of levels, from the finest; None: all.

    Raises:
        InputError: one of them lacks a stride of `strides`, or they have none in common.
    """
    at_s, at_t = ({level.stride: index for index, level in enumerate(levels)} for levels in (student, teacher))
    common = sorted(stride for stride in at_s if stride in at_t)
    for stride in strides if strides is not None else ():
        if stride not in at_s or stride not in at_t:
            lacks = "student" if stride not in at_s else "teacher"
            raise InputError(
                f"{method}: no level of stride {stride} in the {lacks}; {_levels(student, teacher)}; "
                f"closest that both have: {_closest(stride, common)}"
            )
    chosen = common[:finest] if strides is None else sorted(set(strides))
    if not chosen:
        raise InputError(
            f"{method}: student and teacher have no stride in common; {_levels(student, teacher)}; "
            "choose a teacher whose pyramid begins where the student's does"
        )
    return [LevelPair(at_s[stride], at_t[stride], student[at_s[stride]], teacher[at_t[stride]]) for stride in chosen]


def check_same_heads(method: str, student: DetectorLayout, teacher: DetectorLayout, remedy: str) -> HeadLayout:
    """Check that both dense heads have one layout, so that prediction r of both belongs to the same prior; return it.

    Args:
        method: name for messages.
        student, teacher: layouts of the detectors.
        remedy: what the user can do, for the message.

    Raises:
        InputError: a head cannot be read, or logits, priors, box channels or strides differ.
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


class FeatureAdapter(nn.Module):
    """Adapter phi: the student's maps in the teacher's channels and size, level by level.

    Args:
        pairs: from `pair_levels`.
        layer_factory: creates the adapter of one level.
        description: of the layer, for the notes.
        source: `neck` or `backbone`.
        shared: one layer for all levels; their channel counts have to be equal.

    Attributes:
        pairs: the level pairs.
        phi: the layer of each pair.
        notes: one line a pair, for the log.
    """

    def __init__(
        self,
        pairs: Sequence[LevelPair],
        layer_factory: LayerFactory,
        description: str,
        source: str = "neck",
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.pairs, self.source = tuple(pairs), source
        widths = [(pair.student.channels, pair.teacher.channels) for pair in pairs]
        if shared and len(set(widths)) > 1:
            raise InputError(
                f"one layer cannot serve levels of different width: "
                f"{_levels([p.student for p in pairs], [p.teacher for p in pairs])}"
            )
        layers = [layer_factory(*width) for width in (widths[:1] if shared else widths)]
        # A shared layer is listed once per level; `parameters()` and the optimizer count it once.
        self.phi = nn.ModuleList(layers * len(pairs) if shared else layers)
        self.notes = [_note(pair, layer, description) for pair, layer in zip(self.pairs, self.phi, strict=True)]

    @property
    def strides(self) -> list[int]:
        """Px per cell of each pair."""
        return [pair.stride for pair in self.pairs]

    def forward(self, student: DetectorOutputs, teacher: DetectorOutputs) -> list[tuple[Tensor, Tensor]]:
        """Adapt the student's maps.

        Returns:
            Per pair phi(S) and T, both (B, M, h, w) fp32 in the teacher's channels and size; T carries no graph.
        """
        return [(resize_to(phi(s), t), t) for phi, (s, t) in zip(self.phi, self.raw(student, teacher), strict=True)]

    def raw(self, student: DetectorOutputs, teacher: DetectorOutputs) -> list[tuple[Tensor, Tensor]]:
        """Return per pair S (B, M_s, h_s, w_s) and T (B, M, h, w), not adapted; T carries no graph."""
        of_s, of_t = getattr(student, self.source), getattr(teacher, self.source)
        return [(of_s[pair.s], of_t[pair.t].detach()) for pair in self.pairs]


def resize_to(maps: Tensor, like: Tensor) -> Tensor:
    """Resize maps (B, M, h, w) bilinearly to the size of `like` (B, N, H, W); unchanged where the sizes are equal."""
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _note(pair: LevelPair, layer: nn.Module, description: str) -> str:
    by = "as it is" if isinstance(layer, nn.Identity) else description
    size = "" if pair.student.size == pair.teacher.size else ", resized bilinearly"
    return f"stride {pair.stride}: student {pair.student.layer} -> teacher {pair.teacher.layer}, " \
           f"{pair.student.channels} -> {pair.teacher.channels} channels {by}{size}"  # fmt: skip


# Layer factories


def conv_adapter(kernel: int, relu: bool = False, init: str = "default") -> LayerFactory:
    """Return a factory of convolutions with bias and the padding that keeps the size.

    Args:
        kernel: side of the kernel in cells, odd.
        relu: append a ReLU.
        init: `default` (torch's), or `small`: normal, truncated at two standard deviations, times 1e-4, bias 0.
    """

    def make(student: int, teacher: int) -> nn.Module:
        layer = nn.Conv2d(student, teacher, kernel, padding=kernel // 2)
        if init == "small":  # near zero, as in the released code of DeFeat and FGFI, which keeps torch's bias
            nn.init.trunc_normal_(layer.weight, std=1.0, a=-2.0, b=2.0)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
            with torch.no_grad():
                layer.weight.mul_(1e-4)
        return nn.Sequential(layer, nn.ReLU()) if relu else layer

    return make


def conv_adapter_if_needed(kernel: int = 1) -> LayerFactory:
    """Return a factory of convolutions where the channel counts differ, else of identities."""

    def make(student: int, teacher: int) -> nn.Module:
        return nn.Identity() if student == teacher else conv_adapter(kernel)(student, teacher)

    return make


def identity_adapter(student: int, teacher: int) -> nn.Module:
    """Create an identity: for methods that allow any channel counts."""
    return nn.Identity()
