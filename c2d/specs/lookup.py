"""Hold the value of every name that specs mention, so that any number of specs is resolved without reading a file.

`c2d.specs.names` collects the names and reads their values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from c2d.core.errors import InputError
from c2d.specs import first_weights
from c2d.specs.catalog import unknown_student
from c2d.specs.scaling.linear_rule import BATCH_KEY, WITHOUT_STEPS, scale_to_batch, scaling_line
from c2d.specs.schedule import ScheduleRef
from c2d.specs.spec import KINDS, STUDENT_NETWORK, validation_message

T = TypeVar("T")


@dataclass(frozen=True)
class StoredRun:
    """A run of the store.

    Attributes:
        id: the whole id.
        kind: one of KINDS; unknown while its spec.json is being written.
        state: waiting, running, ..., done.
        dataset: {name, digest}; empty while it is unknown.
        images_from: of a run of kind impressions; "" for others.
    """

    id: str
    kind: str
    state: str
    dataset: Mapping[str, str] = field(default_factory=dict)
    images_from: str = ""


def student_key(student: Any) -> str:
    """Return the key of a student in a `Lookup`. A student is given as a name or as {name, digest}."""
    return student if isinstance(student, str) else json.dumps(student, sort_keys=True, default=str)


def student_in(spec: Mapping[str, Any], kind: str) -> Any:
    """Return the student that a spec names, as given: that of a detector, or of a classifier's network `student:NAME`.

    Args:
        spec: keys of spec.json; the spec.json of such a classifier has {name, digest} of the student as well.
        kind: of the run.

    Returns:
        A name or {name, digest}; None for a run without a student.
    """
    student, network = spec.get("student"), spec.get("network")
    if kind != "classifier":
        return (student or network) if kind == "detector" else None
    if not isinstance(network, str) or not network.startswith(STUDENT_NETWORK):
        return None
    return student or network.removeprefix(STUDENT_NETWORK)


@dataclass(frozen=True)
class Lookup:
    """The value of each name. A name that does not exist has as its value the `InputError` that reports it.

    The error is stored, not raised, because a sweep reports the mistakes of all its cells at once, and because a name
    may belong to a teacher or a cell that is never used.

    Attributes:
        methods: content of methods/catalog.json.
        datasets: name or path -> (name, digest).
        students: `student_key` -> {name, digest}.
        schedules: (kind of run, name or path) -> {name, values}.
        data_free: those of `datasets`, as given, whose card says that no training image is real.
        inits: as given -> the text that a spec.json has.
        text_embeddings: as given -> `sha256:...`.
        runs: as given -> the run.
    """

    methods: dict[str, Any]
    datasets: Mapping[str, tuple[str, str] | InputError] = field(default_factory=dict)
    students: Mapping[str, dict[str, str] | InputError] = field(default_factory=dict)
    schedules: Mapping[tuple[str, str], dict[str, Any] | InputError] = field(default_factory=dict)
    data_free: frozenset[str] = frozenset()
    inits: Mapping[str, str | InputError] = field(default_factory=dict)
    text_embeddings: Mapping[str, str | InputError] = field(default_factory=dict)
    runs: Mapping[str, StoredRun | InputError] = field(default_factory=dict)

    def named_values(self, spec: Mapping[str, Any], kind: str) -> dict[str, Any]:
        """Return the values behind the names of one spec.

        Args:
            spec: keys of spec.json with names, paths or objects with a name; its keys are checked before.
            kind: one of KINDS.

        Returns:
            {dataset: {name, digest}, student: {name, digest} or None, schedule: {name, values}, init: text,
            text_embeddings: text or None}.

        Raises:
            InputError: a name that does not exist, or a digest that is not that of the data or config.
        """
        student = student_in(spec, kind)
        return {
            "dataset": self._dataset(spec["dataset"]),
            "student": self._student(student) if kind == "detector" or student is not None else None,
            "schedule": self.schedule(spec["schedule"], kind),
            "init": self._init(spec.get("init") or "none"),
            "text_embeddings": self._text_embeddings(spec.get("text_embeddings")),
        }

    def run(self, given: Any) -> StoredRun:
        """Return a teacher's run. A name that was never looked up is a whole id, and nothing else is known of it.

        Raises:
            InputError: the run does not exist, or it cannot be a teacher.
        """
        run = self.runs.get(str(given))
        return StoredRun(str(given), "unknown", "unknown") if run is None else _value_or_raise(run)

    def is_data_free(self, dataset: Any) -> bool:
        """Return whether the card of a spec's data set says that none of its training images is real."""
        return (dataset["name"] if isinstance(dataset, dict) else dataset) in self.data_free

    def is_preset_of_impressions(self, given: Any) -> bool:
        """Return whether a spec's schedule is one of a synthesis of images."""
        name = given.get("name") if isinstance(given, dict) else given
        found = self.schedules.get(("impressions", name)) if isinstance(name, str) else None
        return isinstance(found, dict) and "priors" in found["values"]

    def _dataset(self, given: Any) -> dict[str, str]:
        name, digest = _value_or_raise(self.datasets[given["name"] if isinstance(given, dict) else given])
        if isinstance(given, dict) and given.get("digest", digest) != digest:
            raise InputError(
                f"data set {name} has digest {digest[:12]}, the spec wants {given['digest'][:12]}; use the same data"
            )
        return {"name": name, "digest": digest}

    def _student(self, given: Any) -> dict[str, str]:
        if (key := student_key(given)) not in self.students:
            raise unknown_student(str(given))
        student = _value_or_raise(self.students[key])
        if isinstance(given, dict) and given.get("digest", student["digest"]) != student["digest"]:
            raise InputError(
                f"student {given['name']} has digest {student['digest'][:12]}, the spec wants "
                f"{given['digest'][:12]}; the toolbox or the config changed"
            )
        return student

    def schedule(self, given: Any, kind: str) -> dict[str, Any]:
        """Return {name, values} of a schedule, with the values that the spec changes.

        Args:
            given: a name, a path, or {name: ..., values: {...}, scale_to_batch: ...}.
            kind: one of KINDS.

        Raises:
            InputError: another form, a name that does not exist, or a schedule that cannot be scaled.
        """
        name, changes, batch = _parts_of_schedule(given)
        # RunSpec reports a kind that does not exist.
        file = _value_or_raise(self.schedules[kind if kind in KINDS else "detector", name])
        merged = _merge(file["values"], changes)
        if batch is not None:
            _check_scales(name, merged, changes, batch)
            merged = _merge(scale_to_batch(_valid(file), batch), changes)
        return {"name": file["name"], "values": merged}

    def scaling_line(self, given: Any, kind: str) -> str:
        """Return what `scale_to_batch` of a schedule changes, in one line; "" for a schedule without it.

        Args:
            given: as `schedule` takes it.
            kind: one of KINDS.

        Raises:
            InputError: as `schedule`.
        """
        name, changes, batch = _parts_of_schedule(given)
        if batch is None:
            return ""
        self.schedule(given, kind)
        before = _valid(_value_or_raise(self.schedules[kind, name]))
        return scaling_line(name, before, scale_to_batch(before, batch), changes)

    def _init(self, given: Any) -> str:
        if not isinstance(given, str):
            raise InputError(f"init {given!r} is not text; allowed: {first_weights.ALLOWED}")
        return "none" if given == "none" else _value_or_raise(self.inits[given])

    def _text_embeddings(self, given: Any) -> str | None:
        if given is None or given == "":
            return None
        if not isinstance(given, str):
            raise InputError(f"text_embeddings {given!r} is not text; wanted a file of `c2d teacher text-embeddings`")
        return _value_or_raise(self.text_embeddings[given])


def _value_or_raise(value: T | InputError) -> T:
    """Return the value, or raise its error as a new one: the stored one may be raised for many specs."""
    if isinstance(value, InputError):
        raise InputError(str(value)) from None
    return value


def _parts_of_schedule(given: Any) -> tuple[str, dict[str, Any], int | None]:
    """Return (name, values that win, batch to scale to or None) of a schedule as a spec gives it."""
    if isinstance(given, str):
        return given, {}, None
    is_object = isinstance(given, dict) and not set(given) - {"name", "values", BATCH_KEY}
    name, changes, batch = (
        (given.get(key) for key in ("name", "values", BATCH_KEY)) if is_object else (None, None, None)
    )
    if not isinstance(name, str) or not isinstance(changes, dict | None):
        raise InputError(f"schedule {given!r} is neither a name nor {{name: ..., values: {{...}}, {BATCH_KEY}: ...}}")
    if batch is not None and (not isinstance(batch, int) or isinstance(batch, bool) or batch < 1):
        raise InputError(f"schedule.{BATCH_KEY} is {batch!r}; give a whole number of images per iteration above 0")
    return name, changes or {}, batch


def _check_scales(name: str, merged: dict[str, Any], changes: dict[str, Any], batch: int) -> None:
    """Check that a schedule has steps whose number and learning rate follow a batch."""
    if "batch" not in merged or "optimizer" not in merged or merged.get("fit") in WITHOUT_STEPS:
        what = f"fit: {merged['fit']}" if "fit" in merged else "it trains no model by steps"
        raise InputError(f"schedule '{name}' has no batch to scale ({what}); leave {BATCH_KEY} out")
    if changes.get("batch", batch) != batch:
        raise InputError(
            f"schedule '{name}' has {BATCH_KEY} {batch} and values.batch {changes['batch']}; give one of them: "
            f"{BATCH_KEY} scales the learning rate and the lengths, values.batch changes nothing else"
        )


def _valid(file: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a schedule's file, which are valid as they are."""
    try:
        ScheduleRef.model_validate(file)
    except ValidationError as error:
        raise InputError(f"schedule '{file['name']}': {validation_message(error)}") from None
    return dict(file["values"])


def _merge(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
