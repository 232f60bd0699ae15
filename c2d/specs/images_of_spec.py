"""Which images a spec asks for: real ones, those of a run of kind impressions, or those of a control.

In: the values of a spec as they are given, and the `Lookup` of their names. Out: plain answers for the resolver; the
specs of a synthesis of one given detector, and of the controls of a synthesis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2d.core.errors import InputError
from c2d.specs.impressions_schedule import CONTROLS
from c2d.specs.lookup import Lookup
from c2d.specs.spec import IMPRESSIONS_KEYS, RunSpec, build_spec

_OF_IMPRESSIONS = ("kind", "dataset", "schedule", "teachers", "seed", "format", "name")
_UNSET: tuple[Any, ...] = (None, False, "none", [], {})
"""Values that say the same as leaving the key out; spec.json has every key."""


def kind_of(values: Mapping[str, Any], lookup: Lookup) -> str:
    """Return the kind of run that a spec describes: its `kind`, or what follows from its model or its schedule.

    Raises:
        InputError: nothing says what the run makes.
    """
    if kind := values.get("kind"):
        return str(kind)
    if "network" in values:
        return "classifier"
    if "student" in values:
        return "detector"
    if lookup.is_preset_of_impressions(values["schedule"]):
        return "impressions"
    raise InputError(
        "a spec needs dataset, schedule and a student (or a network for a classifier, or a schedule of "
        "c2d/configs/impressions for a synthesis of images)"
    )


def check_keys_of_impressions(values: Mapping[str, Any]) -> None:
    """Check that a spec of kind impressions has no key of a training.

    Raises:
        InputError: it has one, with a value.
    """
    for key, given in values.items():
        if key not in _OF_IMPRESSIONS and given not in _UNSET:
            raise InputError(f"a run of kind impressions has no {key} (given {given!r}); {IMPRESSIONS_KEYS}")


def source_of_control(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the synthesis whose targets a control keeps: the same ones, but optimised images.

    Args:
        values: of the control, with the names that a `Lookup` holds.
    """
    given = values["schedule"]
    name, changes = (given["name"], given.get("values") or {}) if isinstance(given, dict) else (given, {})
    teachers = {kind: run for kind, run in values["teachers"].items() if kind != "impressions"}
    schedule = {"name": name, "values": {**changes, "images_from": "optimised"}}
    return {**values, "kind": "impressions", "schedule": schedule, "teachers": teachers}


def trains_on_impressions(values: Mapping[str, Any], given: Any, lookup: Lookup) -> bool:
    """Return whether a student or classifier is trained on the images of `teachers.impressions`.

    It is where `data_free` is true. Without it, real images with a teacher's detections as labels are used as well
    (`images_from: real`), because no other images are meant by them.

    Args:
        values: of the spec.
        given: its `teachers.impressions`: the values of a spec, a run, or nothing.
        lookup: of the names.

    Raises:
        InputError: `data_free` is true and no images without data are named, or two data sets are.
    """
    claimed, dataset = values.get("data_free") is True, values["dataset"]
    if not given:
        if claimed and not lookup.is_data_free(dataset):
            raise InputError(
                f"data_free: true, and the training images of {_name(dataset)} are real; add teachers: {{impressions: "
                "RUN} (make one first with `c2d impressions make`), in a sweep also {impressions: {schedule: moi}}"
            )
        return False
    if lookup.is_data_free(dataset):
        raise InputError(
            f"data set {_name(dataset)} is synthesised already, and teachers.impressions names other images; leave one "
            "of them out"
        )
    is_real = _images_from(given, lookup) == "real"
    if claimed and is_real:
        raise InputError(
            "data_free: true, and the images of teachers.impressions are real (images_from: real); write data_free: "
            "false: the labels are a teacher's, the images are not"
        )
    return claimed or is_real


def spec_of_synthesis(teacher: RunSpec, schedule: Mapping[str, Any], seed: int) -> RunSpec:
    """Return the spec of images made from one detector; equal to that of the same cell of a sweep.

    Args:
        teacher: of the detector's run.
        schedule: {name, values}.
        seed: of the synthesis.

    Raises:
        InputError: the run is no detector, or a value is not allowed.
    """
    if teacher.kind != "detector":
        raise InputError(f"run {teacher.id} is of kind {teacher.kind}; images are made from a detector: give its run")
    return _synthesis(teacher.dataset.model_dump(), {"detector": teacher.id}, schedule, seed)


def spec_of_control(source: RunSpec, images_from: str) -> RunSpec:
    """Return the spec of other images in the place of those of a synthesis.

    Args:
        source: of the synthesis.
        images_from: of the control.

    Raises:
        InputError: `source` is no synthesis, or is a control itself.
    """
    if source.impressions.images_from != "optimised":
        raise InputError(
            f"run {source.id} is a control itself (images_from: {source.impressions.images_from}); give the synthesis "
            f"whose targets it keeps{f', {source.teachers.impressions}' if source.teachers.impressions else ''}"
        )
    teachers = {"detector": source.teachers.detector}
    if images_from in CONTROLS:
        teachers["impressions"] = source.id
    values = {**source.impressions.model_dump(mode="json"), "images_from": images_from}
    schedule = {"name": source.schedule.name, "values": values}
    return _synthesis(source.dataset.model_dump(), teachers, schedule, source.seed)


def _synthesis(dataset: Any, teachers: Any, schedule: Any, seed: int) -> RunSpec:
    values = {"kind": "impressions", "dataset": dataset, "student": None, "network": None, "method": []}
    return build_spec({**values, "teachers": teachers, "schedule": schedule, "seed": seed})


def _images_from(given: Any, lookup: Lookup) -> str:
    if not isinstance(given, dict):
        return lookup.run(given).images_from
    if "schedule" not in given:
        return ""  # reported when it is resolved
    return str(lookup.schedule(given["schedule"], "impressions")["values"].get("images_from"))


def _name(dataset: Any) -> str:
    return str(dataset["name"] if isinstance(dataset, dict) else dataset)
