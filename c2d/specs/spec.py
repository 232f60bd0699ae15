"""RunSpec: the question one run answers, its canonical form and its id. No torch here.

The id is a hash of what the result depends on. Paths, hosts, workers, log settings and the number of GPUs at the same
effective batch are not part of the question, so they are not part of the spec.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from c2d.core.errors import InputError, unknown_name

FORMAT: Final = 1
Method = list[dict[str, dict[str, Any]]]


class Strict(BaseModel):
    """No unknown key, no change after the fact."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataRef(Strict):
    """A data card by name and by the digest of its annotations and class list."""

    name: str
    digest: str


class StudentRef(Strict):
    """A student config by name and by the digest of its resolved stock model config."""

    name: str
    digest: str


class Optimizer(Strict):
    """`lr` belongs to the schedule's effective batch; it is never rescaled by the number of GPUs."""

    type: Literal["SGD", "Adam", "AdamW"]
    lr: float = Field(gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    norm_weight_decay: bool = True


class Warmup(Strict):
    """Linear from `factor` times the learning rate to all of it."""

    iterations: int = Field(default=0, ge=0)
    factor: float = Field(default=0.001, gt=0, le=1)


class Schedule(Strict):
    """How long, how fast, in which precision. Lengths are iterations of the effective batch."""

    iterations: int = Field(gt=0)
    batch: int = Field(gt=0, description="images per iteration over all GPUs")
    optimizer: Optimizer
    warmup: Warmup = Warmup()
    policy: Literal["step", "cosine", "constant"] = "step"
    milestones: list[int] = []
    gamma: float = Field(0.1, gt=0, le=1)
    clip_grad_norm: float | None = Field(None, gt=0)
    precision: Literal["fp32", "amp-fp16", "amp-bf16"] = "fp32"
    ema: float | None = Field(None, gt=0, lt=1, description="momentum of the averaged weights")
    val_interval: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _milestones_fit(self) -> Schedule:
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError(f"milestones {self.milestones} must rise")
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
    """Pixel normalisation in the 0-255 scale, channels in `order`."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: Literal["rgb", "bgr"] = "rgb"


class TeacherSchedule(Schedule):
    """A classifier teacher's schedule with its crops and the accuracy below which no student starts."""

    input: int = Field(gt=0, description="px; side of a crop, unless the spec names another")
    min_top1: float = Field(ge=0, le=1)
    crops: CropRecipe
    loss: CropLoss = CropLoss()
    normalisation: PixelRecipe


def _which_schedule(values: Any) -> str:
    """Crops make a teacher's schedule."""
    return (
        _TAGS[0]
        if isinstance(values, TeacherSchedule) or (isinstance(values, dict) and "crops" in values)
        else _TAGS[1]
    )


_TAGS = ("<teacher>", "<detector>")


class ScheduleRef(Strict):
    """A schedule by name, with every value written out."""

    name: str
    values: Annotated[
        Annotated[TeacherSchedule, Tag(_TAGS[0])] | Annotated[Schedule, Tag(_TAGS[1])], Discriminator(_which_schedule)
    ]


class Teachers(Strict):
    """Run ids of the teachers; a kind no method needs is null before hashing."""

    classifier: str | None = None
    detector: str | None = None


class RunSpec(Strict):
    """One run. `student` for detectors, `network` for classifiers; everything that decides the result."""

    format: Literal[1] = FORMAT
    name: str
    kind: Literal["detector", "classifier"]
    dataset: DataRef
    student: StudentRef | None = None
    network: str | None = None
    input: int | None = Field(None, gt=0, description="px; the student's or teacher's own size when null")
    init: str = Field("none", pattern=r"^(none|torchvision:[\w.]+|sha256:[0-9a-f]{64})$")
    teachers: Teachers = Teachers()
    method: Method = []
    schedule: ScheduleRef
    overrides: dict[str, Any] = {}
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_subject(self) -> RunSpec:
        if (self.kind == "detector") != (self.student is not None) or (self.kind == "classifier") != bool(self.network):
            raise ValueError("a detector run has a student and no network, a classifier run a network and no student")
        if self.kind == "classifier":
            if self.method or self.teachers != Teachers():
                raise ValueError("a classifier run has no method and no teachers")
            if not isinstance(self.schedule.values, TeacherSchedule):
                raise ValueError(f"schedule '{self.schedule.name}' has no crops; take one of configs/teachers")
        return self

    def canonical(self) -> str:
        """JSON with sorted keys and one spelling of every number, without seed and name."""
        value = self.model_dump(mode="json", exclude={"seed", "name"})
        return json.dumps(_one_spelling(value), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def id(self) -> str:
        """`<name>-<hash12>-s<seed>`."""
        return f"{self.name}-{hashlib.sha256(self.canonical().encode()).hexdigest()[:12]}-s{self.seed}"

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def _one_spelling(value: Any) -> Any:
    """2.0 and 2 are one number; the order of keys says nothing."""
    if isinstance(value, dict):
        return {key: _one_spelling(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_one_spelling(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def run_name(kind: str, subject: str, method: Method) -> str:
    """`retinanet-qr18-icod+fgfi`, `retinanet-qr18-baseline`, `resnet18-classifier`: from the spec, not from labels."""
    tail = "classifier" if kind == "classifier" else "+".join(next(iter(item)) for item in method) or "baseline"
    return f"{re.sub(r'[^A-Za-z0-9._+-]+', '-', subject.split('::')[-1])}-{tail}"


def parse_spec(value: Any, where: str) -> RunSpec:
    """A RunSpec from the value of a spec.json; every mistake of the file in one line each."""
    try:
        return RunSpec.model_validate(value)
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """pydantic's errors as `key: what is wrong`, joined by '; '."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if part not in _TAGS) or "spec"
        given = "" if item["type"] == "missing" else f" (given {item['input']!r})" if _short(item["input"]) else ""
        lines.append(f"{key}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "; ".join(dict.fromkeys(lines))


def _short(value: Any) -> bool:
    return not isinstance(value, dict | list) and len(repr(value)) < 60


def resolve_method(method: Method, catalog: dict[str, Any]) -> Method:
    """Every default written out from the catalog, with the distiller's VERSION, one spelling for each number.

    Args:
        method: list of {distiller: params}; params may be null.
        catalog: content of distillers/catalog.json: {name: {title, version, teachers, added, schema, ...}}.
    """
    resolved: Method = []
    for item in method:
        if not isinstance(item, dict) or len(item) != 1:
            raise InputError(f"method entry {item!r} is not {{distiller: params}}; write e.g. - icod: {{T: 2}}")
        (name, given), *_ = item.items()
        if given is not None and not isinstance(given, dict):
            raise InputError(f"method {name}: parameters are keys and values, given {given!r}; write e.g. {{T: 2}}")
        if name not in catalog:
            raise unknown_name("distiller", name, catalog, "see `c2d methods`")
        defaults = {key: rule.get("default") for key, rule in catalog[name]["schema"]["properties"].items()}
        given = dict(given or {})
        version = given.pop("version", catalog[name]["version"])
        if version != catalog[name]["version"]:
            raise InputError(
                f"method {name} has version {version} in the spec, this code has {catalog[name]['version']}; "
                "numbers of the two do not mix: leave `version` out to ask the new question"
            )
        for key in given:
            if key not in defaults:
                raise unknown_name(f"parameter of {name}", key, defaults, f"see `c2d methods {name}`")
        added = catalog[name].get("added", ())  # younger than the first runs: left out while they change nothing
        params = {
            key: given.get(key, default)
            for key, default in defaults.items()
            if key not in added or given.get(key, default) != default
        }
        if name in {next(iter(before)) for before in resolved}:
            raise InputError(f"method {name} is listed twice; one entry with its parameters is enough")
        resolved.append({name: {"version": version, **{key: _one_spelling(value) for key, value in params.items()}}})
    return resolved


def needed_teachers(method: Method, catalog: dict[str, Any]) -> set[str]:
    """Kinds of teacher the methods ask for: a subset of {classifier, detector}."""
    return {kind for item in method for name in item for kind in catalog[name]["teachers"]}
