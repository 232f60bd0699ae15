"""Distillation: the student's own losses and the distillers' terms, one merged dict. The student is never edited."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import torch
from mmengine.dist import get_rank
from torch import Tensor, nn

from c2d.detectors import roi_stage
from c2d.detectors.batch import Batch, batch_from_mmdet
from c2d.detectors.finite_losses import FiniteLosses
from c2d.detectors.normalization import Normalization
from c2d.detectors.outputs import DetectorOutputs, Needs, RoIOutputs
from c2d.detectors.recording import ForwardRecorder, record_forward
from c2d.distillation.gradient_check import Liveness
from c2d.distillation.gradient_monitor import Monitor
from c2d.distillation.weight_schedule import factor
from c2d.methods.base import Distiller, View
from c2d.ops.seeding import derive_seed


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
        seed: of the run; the distillers' own random numbers follow from (seed, iteration, rank, method), so that they
            never disturb the student's, nor one method another's.
        iterations: of the run, for weights that decay.

    `iteration` is set by the loop before each step; `monitor` by whoever wants gradients looked at.
    """

    def __init__(
        self,
        student: Any,
        distillers: Mapping[str, Distiller],
        teachers: TeacherSet,
        num_classes: int,
        seed: int,
        iterations: int = 1,
    ) -> None:
        super().__init__(data_preprocessor=student.data_preprocessor)
        self.student = student
        self.distillers = nn.ModuleDict(distillers)
        self.teachers = teachers
        self.num_classes, self.seed, self.iteration, self.iterations = num_classes, seed, 0, iterations
        self.normalization = Normalization.from_preprocessor(student.data_preprocessor)
        self.liveness = Liveness(get_rank())
        self.monitor: Monitor | None = None
        self.scheduled = True

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        """mode `loss`: the merged losses; other modes are the student's own."""
        if mode == "loss":
            return self.loss(inputs, data_samples)
        return self.student(inputs, data_samples, mode=mode)

    def loss(self, inputs: Tensor, data_samples: Any) -> dict[str, Any]:
        """Student losses as they are named; trained terms loss_kd_<method>_<term>, observations kd_<method>_<name>."""
        if not self.distillers:
            return self.student.loss(inputs, data_samples)
        factors = {
            name: method.params.weight
            * (factor(method.params, self.iteration, self.iterations) if self.scheduled else 1.0)
            for name, method in self.methods.items()
        }
        active = {name: method for name, method in self.methods.items() if factors[name] > 0}
        due = {name: method for name, method in active.items() if self.scheduled and method.due(self.iteration)}
        losses, view, needs = self._look(inputs, data_samples, active, due)
        trained, raw, places = self._terms(active, factors, view, losses)
        if any(len(part.image) for part in view.positives) or (
            not needs.positives and any(len(boxes) for boxes in view.batch.boxes)
        ):
            self.liveness.check(trained, self.student, self.teachers.modules(), places)
        if self.monitor is not None and self.monitor.due(self.iteration):
            losses |= self.monitor.look(self, losses, raw)
        return losses | trained

    @property
    def methods(self) -> dict[str, Any]:
        """The distillers by name."""
        return dict(self.distillers.items())

    def at_full_weight(self) -> None:
        """From here on every method enters with its whole weight, whatever its schedule says: to try a step, or time
        one. Tables of the training set are made now, and not again."""
        for method in self.methods.values():
            if method.refresh is not None:
                method.refresh(self.student)
        self.scheduled = False

    def view(self, inputs: Tensor, data_samples: Any) -> View:
        """One step as the distillers see it, whatever their schedules say; nothing is trained."""
        return self._look(inputs, data_samples, self.methods, self.methods)[1]

    def _look(
        self, inputs: Tensor, data_samples: Any, active: Mapping[str, Any], refreshed: Mapping[str, Any]
    ) -> tuple[dict[str, Any], View, Needs]:
        """(the student's losses, what the active methods see, their needs): the teacher first, then the student."""
        for method in refreshed.values():
            if method.refresh is not None:
                method.refresh(self.student)
        batch = batch_from_mmdet(inputs, data_samples, self.normalization, self.num_classes)
        needs = reduce(or_, (method.needs for method in active.values()), Needs())
        by_teacher = self.teachers.detector.observe(batch, needs) if needs.detector else DetectorOutputs()
        stages = {getattr(method, "roi_stages", "last") for method in active.values()}
        with record_forward(self.student, needs, "all" if "all" in stages else "last") as recorder:
            losses = dict(self.student.loss(inputs, data_samples))
        return losses, self._view(batch, recorder, by_teacher, needs, data_samples), needs

    def random(self, name: str) -> torch.Generator:
        """The random numbers of one method in this iteration."""
        # ICOD had the stream to itself before there were others; its runs keep their numbers.
        own = () if name == "icod" else (zlib.crc32(name.encode()),)
        return torch.Generator().manual_seed(derive_seed(self.seed, self.iteration, get_rank(), 2, *own))

    def _view(
        self,
        batch: Batch,
        recorder: ForwardRecorder,
        by_teacher: DetectorOutputs,
        needs: Needs,
        data_samples: Sequence[Any],
    ) -> View:
        by_student, teacher = recorder.outputs(), self.teachers.detector
        if needs.rois or needs.proposals:
            same: RoIOutputs | None = None
            shared: tuple[RoIOutputs | None, RoIOutputs | None] = None, None
            if needs.rois and by_student.rois is not None:
                same = roi_stage.predict_same_rois(teacher.network, by_teacher.neck, by_student.rois)
            if needs.proposals:
                shared = roi_stage.predict_on_proposals(
                    teacher.network, by_teacher.neck, self.student, by_student.neck, batch, data_samples,
                    self.random("proposals"),
                )  # fmt: skip
            by_student = by_student.with_rois(by_student.rois, shared[0])
            by_teacher = by_teacher.with_rois(same, shared[1])
        return View(
            batch, recorder.positives(batch), self.teachers.classifier, teacher, self.random("icod"), by_student,
            by_teacher, self.iteration / max(self.iterations, 1),
        )  # fmt: skip

    def _terms(
        self, active: Mapping[str, Any], factors: Mapping[str, float], view: View, losses: dict[str, Any]
    ) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, float]], dict[str, str]]:
        """(trained terms, raw terms with their whole weight, where each reads); observations go into `losses`."""
        trained: dict[str, Tensor] = {}
        raw: dict[str, tuple[Tensor, float]] = {}
        places: dict[str, str] = {}
        for name, method in self.methods.items():
            if name not in active:
                # Weights of an idle method take part in the sum with 0, so that DDP waits for none of them.
                parts = [weight.sum() for weight in method.parameters() if weight.requires_grad]
                if parts:
                    trained[f"loss_kd_{name}_idle"] = 0.0 * torch.stack(parts).sum()
                continue
            view.generator = self.random(name)
            exact = (
                nullcontext() if method.OWN_PRECISION else torch.autocast(view.batch.images.device.type, enabled=False)
            )
            with exact:
                terms, seen = method(view)
            if factors[name] != 1.0:
                losses[f"kd_{name}_factor"] = view.batch.images.new_tensor(factors[name], dtype=torch.float32)
            for term, (value, weight) in terms.items():
                key = f"loss_kd_{name}_{term}"
                whole = weight * factors[name]
                trained[key], raw[f"kd_{name}_{term}"] = value * whole, (value, whole)
                losses[f"kd_{name}_{term}_raw"] = value.detach()
                if term not in method.GATED:
                    places[key] = f"{name}: {term}"
            losses |= {f"kd_{name}_{key}": value.detach() for key, value in seen.items()}
        return trained, raw, places
