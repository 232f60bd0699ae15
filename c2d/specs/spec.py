"""The specification of one run (`RunSpec`), its canonical JSON and its id. Needs no torch.

The id is a hash of what the result depends on. Paths, hosts, workers, log settings and the number of GPUs at the same
effective batch do not change the result, so they are not part of the spec.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from c2d.core.errors import MAX_NAME, InputError
from c2d.core.yaml.strict import Strict
from c2d.specs import first_weights
from c2d.specs.impressions_schedule import CONTROLS, ImpressionsSchedule
from c2d.specs.method_schema import Method, canonical_numbers
from c2d.specs.override_rules import check_override_values
from c2d.specs.schedule import SCHEDULE_TAGS, NoTraining, Schedule, ScheduleRef, TeacherRecipe, TeacherSchedule
from c2d.specs.teachers import Teachers

FORMAT: Final = 1
KINDS = ("classifier", "detector", "impressions")
MODEL_KEYS = {"classifier": "network", "detector": "student", "impressions": "schedule"}
"""{kind of run: the key that names what it makes}."""
STUDENT_NETWORK = "student:"
"""`network: student:NAME` is the backbone of a student, global average pooling and a linear layer."""
DIGEST = r"^[0-9A-Za-z]*$"
"""A store names files by it, so it has nothing that leads out of a folder."""
IMPRESSIONS_KEYS = "it has dataset, schedule, teachers: {detector: RUN} and seed"


class DataRef(Strict):
    """A data card by name and by the digest of its annotations and class list."""

    name: str
    digest: str = Field(pattern=DIGEST)


class StudentRef(Strict):
    """A student config by name and by the digest of its resolved stock model config."""

    name: str
    digest: str = Field(pattern=DIGEST)


class RunSpec(Strict):
    """One run: everything that decides its result. Detectors have a `student`, classifiers a `network`.

    A classifier whose network is `student:NAME` has that student as well: its digest tells configs of that name apart.
    A run of kind `impressions` makes images from `teachers.detector`; it has neither.

    A new field is also a key of a sweep: add a row to the table in sweeps/definition/settable_keys.py.
    """

    format: Literal[1] = FORMAT
    name: str
    kind: Literal["detector", "classifier", "impressions"]
    dataset: DataRef
    student: StudentRef | None = None
    network: str | None = None
    input: int | None = Field(None, gt=0, description="px; the student's or teacher's own size when null")
    init: str = Field("none", pattern=first_weights.PATTERN)
    text_embeddings: str | None = Field(
        None, pattern=r"^sha256:[0-9a-f]{64}$", description="of the class names, for a classifier with fit: zero-shot"
    )
    data_free: bool = Field(default=False, description="train on synthesised images alone")
    teachers: Teachers = Teachers()
    method: Method = Field([])
    schedule: ScheduleRef
    overrides: dict[str, Any] = Field({})
    seed: int = Field(0, ge=0)

    @field_validator("overrides")
    @classmethod
    def _overrides_are_plain_data(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        try:
            check_override_values(overrides)
        except InputError as error:
            raise ValueError(str(error)) from None
        return overrides

    @model_validator(mode="after")
    def _fits_its_kind(self) -> RunSpec:
        if (self.kind == "detector") != (self.student is not None and not self.network) or (
            self.kind == "classifier"
        ) != bool(self.network):
            raise ValueError("a detector run has a student and no network, a classifier run a network and no student")
        if self.network and self.network.startswith(STUDENT_NETWORK) != (self.student is not None):
            raise ValueError("a classifier run has a student if its network is student:NAME, and no other has one")
        if self.network and self.student and self.network != f"{STUDENT_NETWORK}{self.student.name}":
            raise ValueError(f"network {self.network} is not the backbone of student {self.student.name}")
        if (self.kind == "impressions") != isinstance(self.schedule.values, ImpressionsSchedule):
            raise ValueError(f"schedule '{self.schedule.name}' is not one of a run of kind {self.kind}")
        if self.kind == "impressions":
            self._fits_impressions()
        if first_weights.is_whole(self.init) or self.is_evaluation_only:
            self._fits_evaluation()
        if first_weights.inherits(self.init) and not (self.kind == "detector" and self.teachers.detector):
            raise ValueError(
                f"init {self.init} takes neck and heads from the detector teacher of a student; add teachers: "
                "{detector: RUN} to a run with a student, or take another init"
            )
        if (first_weights.network_source(self.init) == first_weights.BACKBONE) != bool(self.teachers.backbone):
            raise ValueError(
                f"init {self.init} and teachers.backbone {self.teachers.backbone}: init: backbone starts a student's "
                "backbone from the classifier run of teachers.backbone; give both, or none of them"
            )
        if self.kind == "classifier":
            if self.method or self.teachers != Teachers():
                raise ValueError("a classifier run has no method and no teachers")
            if not isinstance(self.schedule.values, TeacherRecipe):
                raise ValueError(f"schedule '{self.schedule.name}' has no crops; take one of configs/teachers")
            self._fits_its_fit(self.schedule.values)
        elif self.text_embeddings is not None:
            raise ValueError(f"a run of kind {self.kind} has no text_embeddings; they are of a classifier")
        return self

    def _fits_its_fit(self, recipe: TeacherRecipe) -> None:
        if recipe.fit != "full" and self.init == "none":
            raise ValueError(
                f"fit {recipe.fit} keeps the trunk as `init` gives it, and init none is a trunk of random numbers; "
                "give weights as `init`, or take fit: full"
            )
        if (recipe.fit == "zero-shot") != (self.text_embeddings is not None):
            raise ValueError(
                f"fit {recipe.fit} and text_embeddings {self.text_embeddings!r}: fit zero-shot, and no other, has the "
                "text_embeddings of the class names (c2d teacher text-embeddings)"
            )

    def _fits_evaluation(self) -> None:
        if self.kind != "detector" or not (first_weights.is_whole(self.init) and self.is_evaluation_only):
            raise ValueError(
                f"init {self.init} and schedule '{self.schedule.name}' of a {self.kind}: a whole detector (init "
                "zoo:... or detector:...) is a student that is evaluated and never trained, schedule: no-training, "
                "and no other run has that schedule"
            )
        for key in ("method", "data_free", "teachers"):
            if (given := getattr(self, key)) and given != Teachers():
                raise ValueError(
                    f"a run that is not trained has no {key}; leave it out, or give another schedule and init"
                )

    def _fits_impressions(self) -> None:
        for key in ("method", "input", "overrides", "data_free", "init"):
            given = getattr(self, key)
            if given and given != "none":
                raise ValueError(f"a run of kind impressions has no {key} (given {given!r}); {IMPRESSIONS_KEYS}")
        if not self.teachers.detector or self.teachers.classifier:
            raise ValueError(f"a run of kind impressions has one teacher, the detector; {IMPRESSIONS_KEYS}")
        if (self.impressions.images_from in CONTROLS) != bool(self.teachers.impressions):
            raise ValueError(
                f"images_from {self.impressions.images_from}: `teachers.impressions` is the run whose targets are kept "
                f"by a control ({', '.join(CONTROLS)}); the others have none"
            )

    def check_trains(self) -> None:
        """Check that the run makes a model.

        Raises:
            InputError: it makes images.
        """
        if isinstance(self.schedule.values, ImpressionsSchedule):
            raise InputError(
                f"run {self.id} makes images and trains nothing; train a student on them: `teachers: {{impressions: "
                f"{self.id}}}` and `data_free: true` in its spec, or the run's folder as `dataset`"
            )

    @property
    def training(self) -> Schedule:
        """The schedule of a training.

        Raises:
            InputError: the run makes images, or fits a classifier without steps.
        """
        self.check_trains()
        if not isinstance(self.schedule.values, Schedule):
            if self.is_evaluation_only:
                raise InputError(
                    f"run {self.id} is evaluated and never trained (init {self.init}); give a run that is trained"
                )
            raise InputError(
                f"run {self.id} has fit {self.fit}, which takes no training step; give a run with fit: full or head"
            )
        return self.schedule.values

    @property
    def fit(self) -> str:
        """How a classifier is fitted; "" for other runs."""
        return self.schedule.values.fit if isinstance(self.schedule.values, TeacherRecipe) else ""

    @property
    def has_steps(self) -> bool:
        """Whether the run takes steps of an optimizer that trains a model."""
        return isinstance(self.schedule.values, Schedule)

    @property
    def is_evaluation_only(self) -> bool:
        """Whether a whole detector is loaded, exported and evaluated: schedule no-training."""
        return isinstance(self.schedule.values, NoTraining)

    @property
    def impressions(self) -> ImpressionsSchedule:
        """The schedule of a synthesis.

        Raises:
            InputError: the run trains a model.
        """
        if not isinstance(self.schedule.values, ImpressionsSchedule):
            raise InputError(f"run {self.id} is a {self.kind}; give a run of kind impressions (c2d impressions make)")
        return self.schedule.values

    @property
    def is_calibrated(self) -> bool:
        """Whether a temperature of the logits is fitted: `calibrate` of a classifier's schedule."""
        return isinstance(self.schedule.values, TeacherRecipe) and self.schedule.values.calibrate

    @property
    def takes_whole_images(self) -> bool:
        """Whether each image has to be one object, with one box of its own size: the crops of ImageNet."""
        values = self.schedule.values
        return isinstance(values, TeacherSchedule) and values.crops.pipeline == "imagenet"

    @property
    def trains_on_dataset(self) -> bool:
        """Whether the run uses the training images of `dataset`, and not its evaluation split alone."""
        if self.kind == "impressions":
            return self.impressions.images_from == "real"
        return self.teachers.impressions is None

    def canonical(self) -> str:
        """Return JSON with sorted keys and one spelling of every number, without seed and name."""
        # Seed and name are parts of the id already, beside the hash.
        value = {key: found for key, found in self.to_json().items() if key not in ("seed", "name")}
        return json.dumps(canonical_numbers(value), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def id(self) -> str:
        """`<name>-<hash12>-s<seed>`."""
        return f"{self.name}-{hashlib.sha256(self.canonical().encode()).hexdigest()[:12]}-s{self.seed}"

    def to_json(self) -> dict[str, Any]:
        """Return the content of spec.json.

        Fields that are younger than runs which exist are left out where they have no value: the ids of those runs stay,
        and the code that a run was submitted with reads its spec.
        """
        value = self.model_dump(mode="json")
        if not self.data_free:
            del value["data_free"]
        if self.text_embeddings is None:
            del value["text_embeddings"]
        if self.teachers.impressions is None:
            del value["teachers"]["impressions"]
        return value


def run_name(kind: str, model: str, method: Method, *, trained: bool = True) -> str:
    """Derive the first part of a run id from its spec.

    Args:
        kind: detector, classifier or impressions.
        model: name of the student, the classifier's network, or of the schedule of a synthesis.
        method: `RunSpec.method`.
        trained: False for a detector that is evaluated alone.

    Returns:
        For example `retinanet-qr18-icod+fgfi`, `retinanet-qr18-baseline`, `retinanet-r101-no-training` or
        `resnet18-classifier`.
    """
    tail = (
        kind
        if kind != "detector"
        else "+".join(next(iter(item)) for item in method) or ("baseline" if trained else "no-training")
    )
    return f"{re.sub(r'[^A-Za-z0-9._+-]+', '-', model.split('::')[-1])}-{tail}"


def build_spec(values: dict[str, Any]) -> RunSpec:
    """Name a run by its resolved values, and validate them.

    Args:
        values: keys of spec.json but format and name; `schedule` may be validated already.

    Raises:
        InputError: every key that is wrong, in one line.
    """
    student = values["student"]
    schedule = values["schedule"]  # a resolver passes one that it has validated before
    named = schedule.name if isinstance(schedule, ScheduleRef) else schedule["name"]
    model = str(values["network"] or (student["name"] if student else named))
    whole = first_weights.is_whole(str(values.get("init")))
    return _validated({**values, "name": run_name(values["kind"], model, values["method"], trained=not whole)})


def parse_spec(value: Any, where: str) -> RunSpec:
    """Validate the content of a spec.json.

    Args:
        value: the parsed JSON.
        where: file name for messages.

    Raises:
        InputError: every key of the file that is wrong, in one line.
    """
    try:
        return _validated(value)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _validated(value: Any) -> RunSpec:
    try:
        return RunSpec.model_validate(value)
    except ValidationError as error:
        raise InputError(validation_message(error)) from None


def validation_message(error: ValidationError) -> str:
    """Format pydantic's errors as `key: what is wrong (given ...)`, joined by '; '."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if part not in SCHEDULE_TAGS)[:MAX_NAME] or "spec"
        given = "" if item["type"] == "missing" else f" (given {item['input']!r})" if _is_short(item["input"]) else ""
        # pydantic writes "Value error, " before the message of a ValueError.
        lines.append(f"{key}: {item['msg'].removeprefix('Value error, ')}{given}{_fix(item['type'], item['input'])}")
    return "; ".join(dict.fromkeys(lines))


def _fix(kind: str, given: Any) -> str:
    """How to write a value whose type is wrong."""
    if given is None and kind.endswith("_type"):
        return "; leave the key out for its default"
    if kind in ("int_type", "float_type") and isinstance(given, str | bool):
        return f"; write a plain number without quotes, such as {90 if kind == 'int_type' else 0.5}"
    if kind == "bool_type" and not isinstance(given, dict | list):
        return "; write true or false without quotes"
    if kind == "string_type" and isinstance(given, bool | int | float):
        return "; put it in quotes"
    return ""


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) and len(repr(value)) < 60
