"""Base classes of the methods: parameters and a view of one training step in, named loss terms out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from c2d.core.errors import InputError
from c2d.detectors.batch import Batch
from c2d.detectors.outputs import DenseOutputs, DetectorOutputs, HeadTowers, Needs, QueryOutputs
from c2d.detectors.recording.layout import DetectorLayout
from c2d.detectors.recording.positives import Positives

if TYPE_CHECKING:
    from c2d.teachers.classifier import ClassifierTeacher


class Term(NamedTuple):
    """One trained loss term: raw scalar in fp32, with its graph, and the weight it enters the sum with."""

    value: Tensor
    weight: float


@dataclass
class View:
    """One training step as a distiller sees it.

    Attributes:
        batch: images and ground truth.
        positives: of the student, one entry per stage; empty where no method needs them.
        classifier: the classifier teacher, or None.
        detector: the detector teacher, or None.
        generator: random numbers on the CPU, which follow from seed, iteration, rank and method.
        student, teacher: outputs of the two detectors; only what the methods need.
        progress: iteration / iterations, in [0, 1).
    """

    batch: Batch
    positives: list[Positives]
    classifier: ClassifierTeacher | None
    detector: Any
    generator: torch.Generator
    student: DetectorOutputs = field(default_factory=DetectorOutputs)
    teacher: DetectorOutputs = field(default_factory=DetectorOutputs)
    progress: float = 0.0

    def dense(self) -> tuple[DenseOutputs, DenseOutputs]:
        """Raw head outputs of student and teacher, for methods whose `needs` name them."""
        student, teacher = self.student.dense, self.teacher.dense
        if student is None or teacher is None:
            raise RuntimeError("no dense outputs were recorded; set dense=True in the method's `needs`")
        return student, teacher

    def towers(self) -> tuple[HeadTowers, HeadTowers]:
        """Maps that both dense heads predict from, for methods whose `needs` name them."""
        student, teacher = self.student.towers, self.teacher.towers
        if student is None or teacher is None:
            raise RuntimeError("no head towers were recorded; set towers=True in the method's `needs`")
        return student, teacher

    def queries(self) -> tuple[QueryOutputs, QueryOutputs]:
        """Decoder layers of student and teacher, for methods whose `needs` name them."""
        student, teacher = self.student.queries, self.teacher.queries
        if student is None or teacher is None:
            raise RuntimeError("no decoder layers were recorded; set queries=True in the method's `needs`")
        return student, teacher


def unverified(why: str) -> dict[str, Any]:
    """`json_schema_extra` of a parameter whose default no source confirms; `c2d methods` shows `why`."""
    return {"unverified": why}


class Params(BaseModel):
    """Base of every method's parameters: immutable, an unknown name is an error. These five are common to all."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    #: Values of parameters that are null by default, as the authors set them for a detector: detector or `one-stage`
    #: or `two-stage` -> {parameter: value}.
    BY_DETECTOR: ClassVar[dict[str, dict[str, Any]]] = {}

    weight: float = Field(default=1.0, ge=0, description="factor on all terms of the method")
    start: int = Field(default=0, ge=0, description="first iteration with the method on")
    ramp: int = Field(default=0, ge=0, description="iterations from `start` over which the weight rises linearly to 1")
    decay: Literal["none", "linear", "cosine"] = Field(
        default="none", description="fall to 0 at the end of the run: 1 - i/N, or (1 + cos(pi i/N)) / 2"
    )
    stop: int | None = Field(default=None, gt=0, description="first iteration with the method off again")

    def with_detector_values(self, layout: DetectorLayout) -> Self:
        """The same with every null of `BY_DETECTOR` replaced by this detector's value."""
        table = self.BY_DETECTOR
        # Values of the detector itself replace those of its kind.
        known = table.get(layout.stages, {}) | table.get(layout.detector, {})
        return self.model_copy(update={key: value for key, value in known.items() if getattr(self, key) is None})


class Context(NamedTuple):
    """Parts of a run that a distiller is built from, before the optimizer and DDP are built.

    Attributes:
        student_layout, teacher_layout: of the student and of the detector teacher, where a method has one.
        iterations: of the run.
        samples: the training images as at test time, for methods that read all of them
            (`c2d.detectors.training_images`).
        batch: images per iteration over all processes.
        soft_labels: whether the training boxes have soft labels.
    """

    num_classes: int
    classifier: ClassifierTeacher | None = None
    detector: Any = None
    student: Any = None
    student_layout: DetectorLayout | None = None
    teacher_layout: DetectorLayout | None = None
    iterations: int = 1
    samples: Any = None
    batch: int = 1
    soft_labels: bool = False

    def layouts(self, method: str) -> tuple[DetectorLayout, DetectorLayout]:
        """Layouts of student and teacher.

        Raises:
            InputError: no detector teacher was given.
        """
        if self.student_layout is None or self.teacher_layout is None:
            raise InputError(f"{method} needs a detector teacher and none was given; set teachers: {{detector: ...}}")
        return self.student_layout, self.teacher_layout


class Visualization(NamedTuple):
    """One mask, set of boxes or set of crops that a method uses, for `c2d inspect`; other parts stay empty.

    Attributes:
        name: of the mask, e.g. `object mask, stride 8`.
        heat: (B, h, w), drawn over the images from 0 to its maximum.
        boxes: per image (k, 4) xyxy px.
        crops: per image (k, 3, s, s), normalised like the batch.
    """

    name: str
    heat: Tensor | None = None
    boxes: list[Tensor] | None = None
    crops: list[Tensor] | None = None


class Distiller(nn.Module):
    """A method. `forward(view)` returns trained terms and observations (scalars without a graph); see the wrapper.

    Attributes:
        TEACHERS: kinds of teacher that it needs; empty where the data set alone teaches.
        SOFT_LABELS: whether it needs training boxes with soft labels.
        TAUGHT: weights of the terms that a teacher takes part in; with all of them at 0 it needs none. Empty: always.
        WEIGHTS: term -> the parameter that weighs it.
        GATED: terms that may be 0 although there are objects, e.g. while their gate is shut.
        DETECTORS: students that it teaches; empty: all.
        DETECTORS_REASON: why no others, for the message; empty where the method's page says it.
        COST, SOURCE: texts for `c2d methods`.
        ADDED: parameters younger than the method's first runs; with their default they are no part of a run's id.
        OWN_PRECISION: whether `forward` chooses its precision itself; else it runs in fp32 with autocast off.
        CROP_LOGITS: parameter that weighs the term on the classifier teacher's logits of ground-truth crops, which can
            be cached; empty where there is none.
        NAMED_RANDOM_STREAM: whether the method's name is part of the seed of its random numbers.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[int]
    TEACHERS: ClassVar[tuple[str, ...]]
    Params: ClassVar[type[Params]]
    SOFT_LABELS: ClassVar[bool] = False
    TAUGHT: ClassVar[tuple[str, ...]] = ()
    WEIGHTS: ClassVar[dict[str, str]] = {}
    GATED: ClassVar[tuple[str, ...]] = ()
    DETECTORS: ClassVar[tuple[str, ...]] = ()
    DETECTORS_REASON: ClassVar[str] = ""
    COST: ClassVar[str] = ""
    SOURCE: ClassVar[str] = ""
    ADDED: ClassVar[tuple[str, ...]] = ()
    OWN_PRECISION: ClassVar[bool] = False
    CROP_LOGITS: ClassVar[str] = ""
    NAMED_RANDOM_STREAM: ClassVar[bool] = True

    params: Any
    needs: Needs = Needs()
    #: Which stages of a cascade its positives come from.
    roi_stages: Literal["last", "all"] = "last"
    notes: list[str]

    def __init__(self, params: Any) -> None:
        super().__init__()
        self.params, self.notes = params, []

    def visualize(self, view: View) -> list[Visualization]:
        """Return what this method uses in `view`, to be drawn; empty where it uses whole maps alike."""
        return []

    @property
    def uses_crop_logits(self) -> bool:
        """Whether a term uses the classifier teacher's logits of ground-truth crops."""
        return bool(self.CROP_LOGITS) and getattr(self.params, self.CROP_LOGITS) > 0

    #: For methods that read the training set before a step: called with the student when `due(iteration)`.
    refresh: Callable[[Any], None] | None = None

    def due(self, iteration: int) -> bool:
        """Whether `refresh` has to run before this iteration."""
        return False
