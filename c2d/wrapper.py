"""Distillation: the student's own losses and the distillers' terms, one merged dict. The student is never edited."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import get_rank
from torch import Tensor, nn

from c2d import batch as batches
from c2d import positives
from c2d.distillers.base import Distiller, View
from c2d.finite import FiniteLosses
from c2d.liveness import Liveness
from c2d.pixels import Normalisation
from c2d.sampling import mix


@dataclass
class TeacherSet:
    """Teachers as plain objects: the optimizer, DDP, EMA and checkpoints of the student never see them."""

    classifier: Any = None
    detector: Any = None

    def modules(self) -> list[nn.Module]:
        return [teacher.module for teacher in (self.classifier, self.detector) if teacher is not None]


class Distillation(FiniteLosses):
    """A student under instruction.

    Args:
        student: any mmdet detector.
        distillers: name -> distiller; empty for a baseline.
        teachers: what they learn from.
        seed: of the run; the distillers' own random numbers follow from (seed, iteration, rank), so that they never
            disturb the student's.

    `iteration` is set by the loop before each step.
    """

    def __init__(
        self, student: Any, distillers: Mapping[str, Distiller], teachers: TeacherSet, num_classes: int, seed: int
    ) -> None:
        super().__init__(data_preprocessor=student.data_preprocessor)
        self.student = student
        self.distillers = nn.ModuleDict(distillers)
        self.teachers = teachers
        self.num_classes, self.seed, self.iteration = num_classes, seed, 0
        self.pixels = Normalisation.of_preprocessor(student.data_preprocessor)
        self.liveness = Liveness(get_rank())

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        """mode `loss`: the merged losses; other modes are the student's own."""
        if mode == "loss":
            return self.loss(inputs, data_samples)
        return self.student(inputs, data_samples, mode=mode)

    def loss(self, inputs: Tensor, data_samples: Any) -> dict[str, Any]:
        """Student losses as they are named; trained terms loss_kd_<method>_<term>, observations kd_<method>_<name>."""
        if not self.distillers:
            return self.student.loss(inputs, data_samples)
        batch = batches.from_mmdet(inputs, data_samples, self.pixels, self.num_classes)
        stages = {
            stage for distiller in self.distillers.values() for stage in [getattr(distiller, "roi_stages", "last")]
        }
        wanted = any(distiller.NEEDS_POSITIVES for distiller in self.distillers.values())
        watching = (
            positives.recording(self.student, roi_stages="all" if "all" in stages else "last")
            if wanted
            else nullcontext()
        )
        with watching as record:
            losses = dict(self.student.loss(inputs, data_samples))
        found = record.positives(batch) if record is not None else []
        generator = torch.Generator().manual_seed(mix(self.seed, self.iteration, get_rank(), 2))
        view = View(batch, found, self.teachers.classifier, self.teachers.detector, generator)
        trained: dict[str, Tensor] = {}
        places: dict[str, str] = {}
        for name, distiller in self.distillers.items():
            terms, seen = distiller(view)
            for term, (value, weight) in terms.items():
                trained[f"loss_kd_{name}_{term}"] = value * weight
                losses[f"kd_{name}_{term}_raw"] = value.detach()
                places[f"loss_kd_{name}_{term}"] = f"{name}: {term}"
            losses |= {f"kd_{name}_{key}": value.detach() for key, value in seen.items()}
        if any(len(part.image) for part in found) or (not wanted and any(len(boxes) for boxes in batch.boxes)):
            self.liveness.check(trained, self.student, self.teachers.modules(), places)
        return losses | trained
