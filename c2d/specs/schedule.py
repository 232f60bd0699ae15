"""Schedules of detectors and of classifier teachers: length, learning rate, precision; of a teacher also its crops and
how it is fitted to the classes.

`ScheduleRef` holds one of them, or that of a synthesis of images (`c2d.specs.impressions_schedule`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from c2d.core.errors import unknown_name
from c2d.core.yaml.strict import Strict
from c2d.specs.impressions_schedule import ImpressionsSchedule

SCHEDULE_TAGS = ("<teacher>", "<detector>", "<impressions>", "<probe>", "<zero-shot>", "<no-training>")
"""Names that pydantic writes into the path of an error inside `ScheduleRef.values`."""
Fit = Literal["full", "head", "linear-probe", "zero-shot"]
ADDED_DEFAULTS: dict[str, Any] = {"fit": "full", "context": 0.0, "calibrate": False}
"""{key of a classifier teacher's schedule that is younger than runs which exist: its default}. With that value the key
is left out of spec.json, so that the ids of those runs stay."""


class Optimizer(Strict):
    """`lr` belongs to the schedule's effective batch; it is never rescaled by the number of GPUs."""

    type: Literal["SGD", "Adam", "AdamW"]
    lr: float = Field(gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    norm_weight_decay: bool = True


class Warmup(Strict):
    """Linear warm-up from `factor` times the learning rate to the learning rate."""

    iterations: int = Field(default=0, ge=0)
    factor: float = Field(default=0.001, gt=0, le=1)


class Schedule(Strict):
    """Length, learning rate and precision of a training. Lengths are iterations of the effective batch."""

    iterations: int = Field(gt=0)
    batch: int = Field(gt=0, description="images per iteration over all GPUs")
    optimizer: Optimizer
    warmup: Warmup = Warmup()
    policy: Literal["step", "cosine", "constant"] = "step"
    milestones: list[int] = Field([])
    gamma: float = Field(0.1, gt=0, le=1)
    clip_grad_norm: float | None = Field(None, gt=0)
    precision: Literal["fp32", "amp-fp16", "amp-bf16"] = "fp32"
    ema: float | None = Field(None, gt=0, lt=1, description="momentum of the averaged weights")
    val_interval: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _milestones_fit(self) -> Schedule:
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError(f"milestones {self.milestones} must increase")
        if self.warmup.iterations >= self.iterations:
            raise ValueError(
                f"a warm-up of {self.warmup.iterations} iterations does not fit into {self.iterations}; give more "
                "iterations, or a shorter warm-up: warmup: {iterations: 0}"
            )
        return self


class NoTraining(Strict):
    """A whole detector that is loaded, exported and evaluated, and never trained."""

    training: Literal["none"]


class WithAddedKeys(Strict):
    """A part of a classifier teacher's schedule with keys that are younger than runs which exist."""

    @model_serializer(mode="wrap")
    def _leave_defaults_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        return {name: value for name, value in values.items() if ADDED_DEFAULTS.get(name, ...) != value}


class PlainCrops(WithAddedKeys):
    """Crops of images that are not augmented.

    Attributes:
        image_size: px, side of the square that an image is fitted into.
        context: each side of a box is moved outwards by this share of the box's width or height.
    """

    image_size: int = Field(gt=0, le=8192)
    context: float = Field(0.0, ge=0, le=2)


class CropRecipe(PlainCrops):
    """Which augmented images the classifier's crops are taken from, and how many boxes of each.

    `imagenet` is for images with one box of their own size: a random part of it in training, the centre in scoring.
    """

    pipeline: Literal["general", "ssd", "imagenet"] = "general"
    per_image: int | None = Field(None, gt=0)


class CropLoss(Strict):
    """Weights of the softmax cross-entropy and the sigmoid binary cross-entropy."""

    ce: float = Field(default=1.0, ge=0)
    bce: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _is_a_loss(self) -> CropLoss:
        if self.ce == 0 and self.bce == 0:
            raise ValueError("ce and bce are both 0, so there is nothing to minimise; give one of them above 0")
        return self


class PixelRecipe(Strict):
    """Pixel normalization in the 0-255 scale, channels in `order`."""

    # YAML and JSON have lists only.
    mean: tuple[float, float, float] = Field(strict=False)
    std: tuple[float, float, float] = Field(strict=False)
    order: Literal["rgb", "bgr"] = "rgb"


class TeacherRecipe(WithAddedKeys):
    """What the schedules of all classifier teachers have, however they are fitted to the classes of the data set.

    Attributes:
        fit: `full`: every weight is trained; `head`: the last layer; `linear-probe`, `zero-shot`: see the subclasses.
        input: px; side of a crop, unless the spec names another.
        min_top1: top-1 on held-out crops below which no student starts.
        crops: where the crops are taken from.
        normalisation: of their pixels.
        calibrate: fit a temperature of the logits on every tenth training image, which is then not trained on.
    """

    fit: Fit = "full"
    input: int = Field(gt=0)
    min_top1: float = Field(ge=0, le=1)
    crops: PlainCrops
    normalisation: PixelRecipe
    calibrate: bool = False


class TeacherSchedule(Schedule, TeacherRecipe):
    """A classifier teacher that is trained by steps: `fit: full` or `fit: head`."""

    crops: CropRecipe
    loss: CropLoss = CropLoss()

    @model_validator(mode="before")
    @classmethod
    def _has_no_keys_of_a_probe(cls, values: Any) -> Any:
        if isinstance(values, dict) and "probe" in values:
            raise ValueError(
                f"probe belongs to fit: linear-probe (given fit {values.get('fit', 'full')!r}); leave it out"
            )
        return values


class Probe(Strict):
    """Logistic regression on stored features.

    Attributes:
        l2: twice the weight of the squared norm of the coefficients, which belong to features of standard deviation 1.
        flips: use the features of the mirrored crops, too.
        max_iterations: of L-BFGS.
        tolerance: largest absolute entry of the gradient at which it stops.
    """

    l2: float = Field(default=0.01, gt=0, le=1e6)
    flips: bool = True
    max_iterations: int = Field(default=1000, gt=0)
    tolerance: float = Field(default=1e-5, gt=0)


class _WithoutLoop(TeacherRecipe):
    """A teacher whose trunk is frozen and that is fitted without steps.

    Keys of `TeacherSchedule` that mean nothing here are left out, not refused: `fit` can be the axis of a sweep over
    one schedule, and a number that changes nothing must not change the id.
    """

    @model_validator(mode="before")
    @classmethod
    def _leave_keys_of_the_loop_out(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        left = set(TeacherSchedule.model_fields) - set(cls.model_fields)
        kept = {name: value for name, value in values.items() if name not in left}
        if isinstance(kept.get("crops"), dict):
            of_crops = set(CropRecipe.model_fields) - set(PlainCrops.model_fields)
            kept["crops"] = {name: value for name, value in kept["crops"].items() if name not in of_crops}
        return kept


class ProbeSchedule(_WithoutLoop):
    """`fit: linear-probe`: the last layer is solved from features that are computed once over all training boxes."""

    loss: CropLoss = CropLoss()
    probe: Probe = Probe()


class ZeroShotSchedule(_WithoutLoop):
    """`fit: zero-shot`: the last layer compares image embeddings with embeddings of the class names."""


CLASSIFIER_SCHEDULES = (TeacherSchedule, ProbeSchedule, ZeroShotSchedule)
_TAG_OF_FIT = {"linear-probe": SCHEDULE_TAGS[3], "zero-shot": SCHEDULE_TAGS[4]}


def _tag_of(values: Any) -> str:
    """Only a classifier teacher's schedule has crops, only that of impressions has priors."""
    # pydantic passes a dict for validation and a model for serialization.
    if isinstance(values, TeacherRecipe) or (isinstance(values, dict) and "crops" in values):
        fit = values.get("fit") if isinstance(values, dict) else values.fit
        return _TAG_OF_FIT.get(fit, SCHEDULE_TAGS[0]) if isinstance(fit, str) else SCHEDULE_TAGS[0]
    if isinstance(values, NoTraining) or (isinstance(values, dict) and "training" in values):
        return SCHEDULE_TAGS[5]
    is_impressions = isinstance(values, ImpressionsSchedule) or (isinstance(values, dict) and "priors" in values)
    return SCHEDULE_TAGS[2] if is_impressions else SCHEDULE_TAGS[1]


class ScheduleRef(Strict):
    """A schedule by name, with every value written out."""

    name: str
    values: Annotated[
        Annotated[TeacherSchedule, Tag(SCHEDULE_TAGS[0])]
        | Annotated[Schedule, Tag(SCHEDULE_TAGS[1])]
        | Annotated[ImpressionsSchedule, Tag(SCHEDULE_TAGS[2])]
        | Annotated[ProbeSchedule, Tag(SCHEDULE_TAGS[3])]
        | Annotated[ZeroShotSchedule, Tag(SCHEDULE_TAGS[4])]
        | Annotated[NoTraining, Tag(SCHEDULE_TAGS[5])],
        # Without it, pydantic would report the errors of both kinds of schedule.
        Discriminator(_tag_of),
    ]


def schedule_key_mistake(keys: Sequence[str], models: Iterable[type[BaseModel]]) -> str:
    """Check a dotted key of a schedule.

    Args:
        keys: its parts.
        models: the kinds of schedule; one of them must have it.

    Returns:
        What is wrong, with the closest key that exists; "" for a key that exists.
    """
    inside = list(models)
    for place, part in enumerate(keys):
        fields: dict[str, list[Any]] = {}
        for model in inside:
            for name, info in model.model_fields.items():
                fields.setdefault(name, []).append(info.annotation)
        if part not in fields:
            above = ".".join(["schedule", *keys[:place]])
            return str(unknown_name(f"key of {above}:", part, fields) if fields else f"{above} has no keys inside")
        inside = [kind for kind in fields[part] if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return ""
