"""The backbone of a student as a classifier: global average pooling of its last map, and a linear layer.

Its weights have the keys of the backbone under `backbone.`, so that a student's backbone takes them key by key. What
the student's config freezes for its own training is not frozen in this one: `frozen_stages` and `norm_eval` are off,
weight files that it names are never loaded, and the first weights are those of the backbone's own rules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from c2d.configs.student_config import load_student
from c2d.core.errors import InputError, first_line
from c2d.detectors.mmdet_scope import mmdet_scope
from c2d.specs.spec import STUDENT_NETWORK

UNFROZEN = "frozen_stages and norm_eval of its config are off, and weight files that it names are not loaded"


class StudentNetwork(nn.Module):
    """A C-way classifier on the backbone of a detector.

    Args:
        backbone: (N, 3, s, s) -> maps (N, M, h, w), finest first.
        size: side of the crops in px, for which the backbone is built.
        num_classes: C.

    Attributes:
        trunk: name of the child that has the maps, see `c2d.teachers.layers`.
    """

    trunk = "backbone"

    def __init__(self, backbone: nn.Module, size: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        training = backbone.training
        backbone.eval()  # not chained: mmdet's backbones return nothing here
        last = self._last_map(torch.zeros(1, 3, size, size))
        backbone.train(training)
        # A layer after the last map, such as conv2 of mmdet's MobileNetV2, has no gradient here, nor in the student.
        weights = [weight for weight in backbone.parameters() if weight.requires_grad]
        reached = torch.autograd.grad(last.sum(), weights, allow_unused=True)
        for weight, gradient in zip(weights, reached, strict=True):
            weight.requires_grad_(gradient is not None)
        self.fc = nn.Linear(last.shape[1], num_classes)

    def forward(self, crops: Tensor) -> Tensor:
        """Return the logits (N, C) of crops (N, 3, s, s)."""
        logits: Tensor = self.fc(self._last_map(crops).mean(dim=(2, 3)))
        return logits

    def _last_map(self, crops: Tensor) -> Tensor:
        maps: Any = self.backbone(crops)
        last: Tensor = maps if isinstance(maps, Tensor) else maps[-1]
        return last


def backbone_of(student: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a student's backbone as a classifier trains it.

    Args:
        student: its config, of `load_student` with pretrained False, which freezes nothing.

    Raises:
        InputError: the student has no backbone of its own.
    """
    backbone = student["model"].get("backbone")
    if not isinstance(backbone, Mapping):
        raise InputError("this student has no backbone in its config, so none can be trained as a classifier")
    return dict(backbone)


def student_builder(name: str, backbone: Mapping[str, Any] | None, num_classes: int) -> Callable[[int], nn.Module]:
    """Return a function: side of the crops in px -> the network, with random weights.

    Args:
        name: `student:NAME`.
        backbone: of `backbone_of`; None to read that of a shipped student, of a path, or of `mmdet::FILE`.
        num_classes: C.

    Raises:
        InputError: there is no such student.
    """
    if backbone is None:
        backbone = backbone_of(load_student(name.removeprefix(STUDENT_NETWORK), pretrained=False))
    config = copy.deepcopy(dict(backbone))

    def build(size: int) -> nn.Module:
        with mmdet_scope():
            from mmdet.registry import MODELS

            try:
                module = MODELS.build(copy.deepcopy(config))
                # On the meta device, where shapes alone are computed, there is nothing to initialise.
                if hasattr(module, "init_weights") and not any(weight.is_meta for weight in module.parameters()):
                    module.init_weights()
            except (InputError, MemoryError):
                raise
            except Exception as error:  # a config's values reach any code of mmdet and torch
                raise InputError(f"network {name}: mmdet cannot build the backbone: {first_line(error)}") from error
        return StudentNetwork(module, size, num_classes)

    return build
