"""Schedules of detectors and of classifier teachers: length, learning rate, precision; of a teacher also its crops.

`ScheduleRef` holds one of them, or that of a synthesis of images (`c2d.specs.impressions_schedule`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from c2d.core.errors import unknown_name
from c2d.specs.impressions_schedule import ImpressionsSchedule
from c2d.specs.strict import Strict

SCHEDULE_TAGS = ("<teacher>", "<detector>", "<impressions>")
"""Names that pydantic writes into the path of an error inside `ScheduleRef.values`."""


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
            raise ValueError(f"a warm-up of {self.warmup.iterations} iterations does not fit into {self.iterations}")
        return self


class CropRecipe(Strict):
    """Which augmented images the classifier's crops are taken from, and how many boxes of each."""

    pipeline: Literal["general", "ssd"] = "general"
    per_image: int | None = Field(None, gt=0)
    image_size: int = Field(gt=0)


class CropLoss(Strict):
    """Weights of the softmax cross-entropy and the sigmoid binary cross-entropy."""

    ce: float = Field(default=1.0, ge=0)
    bce: float = Field(default=1.0, ge=0)


class PixelRecipe(Strict):
    """Pixel normalization in the 0-255 scale, channels in `order`."""

    # YAML and JSON have lists only.
    mean: tuple[float, float, float] = Field(strict=False)
    std: tuple[float, float, float] = Field(strict=False)
    order: Literal["rgb", "bgr"] = "rgb"


class TeacherSchedule(Schedule):
    """A classifier teacher's schedule with its crops and the accuracy below which no student starts."""

    input: int = Field(gt=0, description="px; side of a crop, unless the spec names another")
    min_top1: float = Field(ge=0, le=1)
    crops: CropRecipe
    loss: CropLoss = CropLoss()
    normalisation: PixelRecipe


def _tag_of(values: Any) -> str:
    """Only a classifier teacher's schedule has crops, only that of impressions has priors."""
    # pydantic passes a dict for validation and a model for serialization.
    if isinstance(values, TeacherSchedule) or (isinstance(values, dict) and "crops" in values):
        return SCHEDULE_TAGS[0]
    is_impressions = isinstance(values, ImpressionsSchedule) or (isinstance(values, dict) and "priors" in values)
    return SCHEDULE_TAGS[2] if is_impressions else SCHEDULE_TAGS[1]


class ScheduleRef(Strict):
    """A schedule by name, with every value written out."""

    name: str
    values: Annotated[
        Annotated[TeacherSchedule, Tag(SCHEDULE_TAGS[0])]
        | Annotated[Schedule, Tag(SCHEDULE_TAGS[1])]
        | Annotated[ImpressionsSchedule, Tag(SCHEDULE_TAGS[2])],
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
        fields = {name: info.annotation for model in inside for name, info in model.model_fields.items()}
        if part not in fields:
            above = ".".join(["schedule", *keys[:place]])
            return str(unknown_name(f"key of {above}:", part, fields) if fields else f"{above} has no keys inside")
        kind = fields[part]
        inside = [kind] if isinstance(kind, type) and issubclass(kind, BaseModel) else []
    return ""
