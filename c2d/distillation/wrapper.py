"""The trained model: the student's own losses and the methods' terms in one dict. The student is never edited."""

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

from c2d.detectors.batch import Batch, batch_from_mmdet
from c2d.detectors.finite_losses import FiniteLosses
from c2d.detectors.normalization import Normalization
from c2d.detectors.outputs import DetectorOutputs, Needs, RoIOutputs
from c2d.detectors.recording import roi_stage
from c2d.detectors.recording.record_forward import ForwardRecorder, record_forward
from c2d.distillation.gradient_check import GradientCheck
from c2d.distillation.gradient_monitor import GradientMonitor
from c2d.distillation.weight_schedule import weight_factor
from c2d.methods.base import Distiller, View
from c2d.ops.seeding import derive_seed


@dataclass
class TeacherSet:
    """Frozen teachers of a run, as plain objects: optimizer, DDP, EMA and checkpoints of the student exclude them."""

    classifier: Any = None
    detector: Any = None

    def modules(self) -> list[nn.Module]:
        """Return the networks of the teachers that exist."""
        return [teacher.module for teacher in (self.classifier, self.detector) if teacher is not None]


class Distillation(FiniteLosses):
    """A student that is trained with distillation methods, or alone.

    Args:
        student: any mmdet detector.
        distillers: name -> method; empty for a baseline. The name is part of the checkpoints' keys.
        teachers: of the methods.
        num_classes: foreground classes.
        seed: of the run; the methods' own random numbers follow from (seed, iteration, rank, method), so that they
            change neither the student's nor another method's.
        iterations: of the run, for the schedules of the methods' weights.

    Attributes:
        iteration: set by the training loop before each step, from 0.
        gradient_check: stops a run whose terms give the student no gradient.
        gradient_monitor: set it to observe the gradients of the terms.
        scheduled: False after `at_full_weight`.
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
        self.teachers = teachers  # a dataclass, so that nn.Module does not register the networks in it
        self.num_classes, self.seed, self.iteration, self.iterations = num_classes, seed, 0, iterations
        self.normalization = Normalization.from_preprocessor(student.data_preprocessor)
        self.gradient_check = GradientCheck(get_rank())
        self.gradient_monitor: GradientMonitor | None = None
        self.scheduled = True

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Compute the merged losses in mode `loss`; other modes are the student's own.

        Args:
            inputs: normalized and padded images, (B, 3, H, W).
            data_samples: B of mmdet's DetDataSample, boxes xyxy in px of `inputs`.
            mode: `loss`, `predict` or `tensor`.
        """
        if mode == "loss":
            return self.loss(inputs, data_samples)
        return self.student(inputs, data_samples, mode=mode)

    def loss(self, inputs: Tensor, data_samples: Any) -> dict[str, Any]:
        """Compute the losses of one step.

        Args:
            inputs: normalized and padded images, (B, 3, H, W).
            data_samples: B of mmdet's DetDataSample, boxes xyxy in px of `inputs`.

        Returns:
            The student's losses under mmdet's names, trained terms `loss_kd_<method>_<term>` (scalars), and
            observations `kd_<method>_<name>` (scalars without a graph).
        """
        if not self.distillers:
            return self.student.loss(inputs, data_samples)
        factors = {
            name: method.params.weight
            * (weight_factor(method.params, self.iteration, self.iterations) if self.scheduled else 1.0)
            for name, method in self.methods.items()
        }
        active = {name: method for name, method in self.methods.items() if factors[name] > 0}
        due = {name: method for name, method in active.items() if self.scheduled and method.due(self.iteration)}
        losses, view, needs = self._observe(inputs, data_samples, active, due)
        trained, raw, places = self._terms(active, factors, view, losses)
        # A step without an object, or without a positive where methods need them, tests nothing.
        if any(len(part.image) for part in view.positives) or (
            not needs.positives and any(len(boxes) for boxes in view.batch.boxes)
        ):
            self.gradient_check.check(trained, self.student, self.teachers.modules(), places)
        if self.gradient_monitor is not None and self.gradient_monitor.due(self.iteration):
            losses |= self.gradient_monitor.observe(self, losses, raw)
        return losses | trained

    @property
    def methods(self) -> dict[str, Any]:
        """The methods by name."""
        return dict(self.distillers.items())

    def at_full_weight(self) -> None:
        """Switch the schedules of the methods' weights off, to test or time a step with every method.

        Tables of the training set are computed now and not again.
        """
        for method in self.methods.values():
            if method.refresh is not None:
                method.refresh(self.student)
        self.scheduled = False

    def view(self, inputs: Tensor, data_samples: Any) -> View:
        """Compute the view of one step for all methods, also those that their schedules switch off; nothing is trained.

        Args:
            inputs: normalized and padded images, (B, 3, H, W).
            data_samples: B of mmdet's DetDataSample, boxes xyxy in px of `inputs`.
        """
        return self._observe(inputs, data_samples, self.methods, self.methods)[1]

    def generator(self, name: str = "") -> torch.Generator:
        """Return the random numbers of one method, or of one purpose, in this iteration and rank.

        Args:
            name: of a method or purpose; empty for the stream without a name.
        """
        method = self.methods.get(name)
        # 2 is the purpose of this seed. Others: 1 augmentation, 3 the student's step, 4 first weights of adapters.
        named = bool(name) and (method is None or method.NAMED_RANDOM_STREAM)
        own = (zlib.crc32(name.encode()),) if named else ()
        return torch.Generator().manual_seed(derive_seed(self.seed, self.iteration, get_rank(), 2, *own))

    def _observe(
        self, inputs: Tensor, data_samples: Any, active: Mapping[str, Any], refreshed: Mapping[str, Any]
    ) -> tuple[dict[str, Any], View, Needs]:
        """(the student's losses, what the active methods see, their needs): the teacher first, then the student."""
        for method in refreshed.values():
            if method.refresh is not None:
                method.refresh(self.student)
        batch = batch_from_mmdet(inputs, data_samples, self.normalization, self.num_classes)
        needs = reduce(or_, (method.needs for method in active.values()), Needs())
        # Before the student, so that the teacher's activations are freed when the student's graph grows.
        by_teacher = self.teachers.detector.outputs(batch, needs) if needs.detector else DetectorOutputs()
        stages = {method.roi_stages for method in active.values()}
        with record_forward(self.student, needs, "all" if "all" in stages else "last") as recorder:
            losses = dict(self.student.loss(inputs, data_samples))
        return losses, self._view(batch, recorder, by_teacher, needs, data_samples), needs

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
                    self.generator("proposals"),
                )  # fmt: skip
            by_student = by_student.with_rois(by_student.rois, shared[0])
            by_teacher = by_teacher.with_rois(same, shared[1])
        return View(
            batch, recorder.positives(batch), self.teachers.classifier, teacher, self.generator(), by_student,
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
                # DDP waits for the gradient of every weight: those of an idle method enter the sum with factor 0.
                parts = [weight.sum() for weight in method.parameters() if weight.requires_grad]
                if parts:
                    trained[f"loss_kd_{name}_idle"] = 0.0 * torch.stack(parts).sum()
                continue
            view.generator = self.generator(name)
            # In fp32: a KL of fp16 probabilities underflows.
            exact = (
                nullcontext() if method.OWN_PRECISION else torch.autocast(view.batch.images.device.type, enabled=False)
            )
            with exact:
                terms, seen = method(view)
            if factors[name] != 1.0:
                losses[f"kd_{name}_factor"] = view.batch.images.new_tensor(factors[name], dtype=torch.float32)
            # mmengine adds every key that contains `loss` to the total: terms have it, observations must not.
            for term, (value, weight) in terms.items():
                key = f"loss_kd_{name}_{term}"
                whole = weight * factors[name]
                trained[key], raw[f"kd_{name}_{term}"] = value * whole, (value, whole)
                losses[f"kd_{name}_{term}_raw"] = value.detach()
                if term not in method.GATED:  # a gated term may rightly be 0 in the first steps
                    places[key] = f"{name}: {term}"
            losses |= {f"kd_{name}_{key}": value.detach() for key, value in seen.items()}
        return trained, raw, places
