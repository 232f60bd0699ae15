"""Several frozen classifiers as one teacher: its logits are the weighted mean of theirs,

    z = sum_m w_m z_m / tau_m,   sum_m w_m = 1

with the temperature tau_m of each member (1 where it was not calibrated). Under a softmax this is the geometric mean of
the members' calibrated probabilities, up to a constant. Every member sees crops of its own size and normalization;
feature maps are those of the first member.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.normalization import Normalization
from c2d.teachers.classifier import ClassifierTeacher


class EnsembleTeacher:
    """Classifiers with the same classes and their weights; what is no logit is the first one's.

    Attributes:
        members: (classifier, weight), weights with the sum 1.
        classes: names, in the order of the logits.
        size: side of the first member's crops in px.
        normalization: of the first member.
        layers: of the first member.
        context: of the first member's boxes, see `ClassifierTeacher`.
    """

    def __init__(self, teachers: Sequence[ClassifierTeacher], weights: Sequence[float]) -> None:
        """Check that the classes agree.

        Raises:
            InputError: they do not.
        """
        self.members = tuple(zip(teachers, weights, strict=True))
        first = teachers[0]
        for place, teacher in enumerate(teachers[1:], start=2):
            if teacher.classes != first.classes:
                raise InputError(
                    f"member {place} of the ensemble has the classes {', '.join(teacher.classes[:4])}, ... "
                    f"({len(teacher.classes)}), the first has {', '.join(first.classes[:4])}, ... "
                    f"({len(first.classes)}); an ensemble needs the same classes in the same order"
                )
        self._first = first
        self.classes, self.size, self.layers = first.classes, first.size, first.layers
        self.normalization, self.context = first.normalization, first.context
        self.network = first.network

    @property
    def module(self) -> nn.Module:
        """The members' modules."""
        return nn.ModuleList([teacher.module for teacher, _ in self.members])

    def to(self, device: str | torch.device) -> EnsembleTeacher:
        """Move the members to `device`; return self."""
        for teacher, _ in self.members:
            teacher.to(device)
        return self

    def normalize(self, crops: Tensor, src: Normalization) -> Tensor:
        """Convert crops (K, 3, s, s) from the normalization `src` to the first member's."""
        return self._first.normalize(crops, src)

    def features(self, crops: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Compute the first member's maps (K, M, h, w) of crops (K, 3, s, s)."""
        return self._first.features(crops, layers)

    def map_sides(self, layers: Sequence[str], size: int) -> dict[str, int]:
        """Measure the first member's maps.

        Args:
            layers: names, see `layers`.
            size: of the crops in px.

        Raises:
            InputError: it is not the first member's: every member of an ensemble has crops of its own size.
        """
        if size != self.size:
            raise InputError(
                f"crops of {size} px for an ensemble, whose members have crops of their own "
                f"({', '.join(str(teacher.size) for teacher, _ in self.members)} px); leave the size out"
            )
        return self._first.map_sides(layers, size)
