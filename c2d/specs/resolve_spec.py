"""Resolve the values of a SPEC.yaml into a `RunSpec`: names looked up, defaults written out, files by content.

SPEC.yaml has the keys of spec.json with defaults left out; `dataset`, `student`, `schedule` and `init` may be a name or
a path alone, and a teacher the beginning of its run id. One spec: `resolve_spec`. Many: `names_in`, `look_up_names`
once, then `SpecResolver.resolve` for each, which reads no file. Which images a spec asks for: `images_of_spec`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2d.core.errors import InputError, unknown_name
from c2d.specs import first_weights
from c2d.specs.images_of_spec import check_keys_of_impressions, kind_of, source_of_control, trains_on_impressions
from c2d.specs.impressions_schedule import CONTROLS
from c2d.specs.lookup import Lookup
from c2d.specs.method_schema import Method, check_json, check_method, needed_teachers, resolve_method
from c2d.specs.names import look_up_names, names_in
from c2d.specs.schedule import ScheduleRef
from c2d.specs.spec import MODEL_KEYS, STUDENT_NETWORK, RunSpec, build_spec
from c2d.specs.teachers import TEACHER_KEYS, WEIGHTS, are_equal, check_ensemble, given_teachers, kind_of_role
from c2d.weights.zoo.zoo_table import check_student

_DERIVED = ("format", "name")  # keys of spec.json that follow from the others; given ones are ignored


def resolve_spec(values: Mapping[str, Any], *, where: str, runs: Path, data: Path | None = None) -> RunSpec:
    """Resolve one spec.

    Args:
        values: keys of spec.json, defaults left out.
        where: file name for messages.
        runs: the store: teachers are looked up there, and weight files are copied there.
        data: root of the data cards (default: C2D_DATA, else ./data).

    Raises:
        InputError: an unknown key or name, or a value that is not allowed.
    """
    try:
        check_keys(values)  # before a file is copied to the store
        _check_teachers_exist(values.get("teachers"))
        _check_use_of_impressions(values)
        return SpecResolver(look_up_names(names_in([values]), runs, data)).resolve(values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_teachers_exist(teachers: Any) -> None:
    """Check that teachers are given by run id: a single spec trains no teacher that is only described."""
    for kind, given in teachers.items() if isinstance(teachers, dict) else ():
        for teacher in given_teachers({kind: given}):
            if isinstance(teacher, dict):
                raise InputError(f"teachers.{kind}: {teacher!r} is not a run id; train it first with `c2d train`")


def _check_use_of_impressions(values: Mapping[str, Any]) -> None:
    """Check that a single spec which names impressions says whether they are meant: a sweep may name them for some."""
    teachers = values.get("teachers")
    is_synthesis = values.get("kind") == "impressions"
    named = teachers.get("impressions") if isinstance(teachers, dict) and not is_synthesis else None
    if named and "data_free" not in values and ("student" in values or "network" in values):
        raise InputError(
            f"teachers.impressions is {named!r} and data_free is missing; write data_free: true to "
            "train on its images alone, false for real images"
        )


def check_keys(values: Mapping[str, Any]) -> None:
    """Check the keys of a spec, and that data set and model are given.

    Raises:
        InputError: an unknown or missing key, or a data set or student without a name.
    """
    for key in values:
        if key not in RunSpec.model_fields:
            raise unknown_name("key", key, RunSpec.model_fields)
    if "dataset" not in values or "schedule" not in values:
        raise InputError("a spec needs dataset, schedule and a student (or a network for a classifier)")
    for key in ("dataset", "student"):
        if isinstance(values.get(key), dict) and not isinstance(values[key].get("name"), str):
            raise InputError(f"{key} {values[key]!r} has no name")
    if not isinstance(values["dataset"], str | dict):
        raise InputError(f"dataset {values['dataset']!r} is not a name; give a data card's name or path")


def _with_first_weights(needed: Mapping[str, list[str]], init: str, kind: str) -> dict[str, list[str]]:
    """Return {kind of teacher: what needs one}: the methods, and an `init` that takes weights from a run."""
    needs = {kind: [f"method {', '.join(methods)}"] for kind, methods in needed.items()}
    if kind == "detector" and first_weights.inherits(init):
        needs.setdefault("detector", []).append(f"init {init}")
    if kind == "detector" and first_weights.network_source(init) == first_weights.BACKBONE:
        needs["backbone"] = [f"init {init}"]
    return needs


def _network(values: Mapping[str, Any], student: Mapping[str, str] | None) -> Any:
    """Return the network of a classifier; that of a student has the name which the student has in a spec.json."""
    return values.get("network") or values.get("student") if student is None else f"{STUDENT_NETWORK}{student['name']}"


def _given(values: Mapping[str, Any], key: str, default: Any) -> Any:
    """Return a value of a spec; `default` for null and an empty list or mapping, not for false, 0 and empty text."""
    value = values.get(key)
    return default if value is None or value in ([], {}) else value


class SpecResolver:
    """Resolve many specs from the values of their names. Equal methods, schedules and teachers are resolved once.

    Args:
        lookup: every name that a spec mentions; a name that is missing there is a KeyError.

    Attributes:
        teachers: {run id: spec} of the teachers that were given by their values, and of what these need in turn, in an
            order in which they can be trained.
    """

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.teachers: dict[str, RunSpec] = {}
        # By the JSON of what was given. Only what was valid is kept, so a mistake is reported wherever it occurs.
        self._methods: dict[str, tuple[Method, dict[str, list[str]]]] = {}
        self._schedules: dict[str, ScheduleRef] = {}
        self._teacher_ids: dict[str, str] = {}

    def resolve(self, values: Mapping[str, Any]) -> RunSpec:
        """Resolve one spec.

        Args:
            values: keys of spec.json, defaults left out. A teacher is a name in `lookup.runs`, a whole run id, or the
                values of a spec of its own, which has the same data set unless it names another. Its teachers may be
                given by their values as well.

        Raises:
            InputError: an unknown key or name, or a value that is not allowed.
        """
        check_keys(values)
        kind = kind_of(values, self.lookup)
        method, needed = self._method(_given(values, "method", []))
        named = self.lookup.named_values(values, kind)
        if "training" in named["schedule"]["values"]:
            needed = {}  # a run without training refuses the method itself, so no teacher is asked for
        if named["student"] is not None:
            check_student(named["init"], named["student"]["name"])
        resolved = {
            **named,
            "kind": kind,
            "method": method,
            "teachers": self._teachers(
                values, kind, _with_first_weights(needed, named["init"], kind), named["dataset"]
            ),
            "network": _network(values, named["student"]) if kind == "classifier" else None,
            "input": values.get("input"),
            "overrides": _given(values, "overrides", {}),
        }
        if resolved["input"] is None and kind == "classifier":  # the side of its schedule's crops
            resolved["input"] = named["schedule"]["values"].get("input")
        check_json(resolved["overrides"], "overrides")
        # default=repr: values that JSON cannot hold are reported by the validation.
        key = json.dumps([kind, named["schedule"]], default=repr)
        resolved["schedule"] = self._schedules.get(key, named["schedule"])
        as_given = {name: value for name, value in values.items() if name not in _DERIVED}
        spec = build_spec({**as_given, **resolved})
        self._schedules[key] = spec.schedule
        return spec

    def _method(self, given: Any) -> tuple[Method, dict[str, list[str]]]:
        """Return (the method with every default written out, {kind of teacher: the methods that need one})."""
        if not isinstance(given, list):
            raise InputError(f"method is a list, e.g. [{{icod: {{T: 2}}}}], given {given!r}")
        key = json.dumps(given, default=repr)
        if key not in self._methods:
            catalog = self.lookup.methods
            method = resolve_method(given, catalog)
            check_method(method, catalog)
            self._methods[key] = method, needed_teachers(method, catalog)
        return self._methods[key]

    def _teachers(
        self, values: Mapping[str, Any], kind_of_run: str, needed: Mapping[str, list[str]], dataset: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return {kind: whole run id, or a list of them} of the teachers that are needed, and their weights."""
        given = _given(values, "teachers", {})
        if not isinstance(given, Mapping):
            raise InputError(f"teachers is {given!r}; wanted keys, e.g. {{detector: RUN}}")
        for kind in given:
            if kind not in (*TEACHER_KEYS, WEIGHTS):
                raise unknown_name("kind of teacher", kind, (*TEACHER_KEYS, WEIGHTS))
        if kind_of_run == "impressions":
            return self._teachers_of_impressions({**values, "teachers": given})
        ids: dict[str, Any] = {}
        for kind, methods in needed.items():
            teacher = given.get(kind)
            if not teacher:
                what, key = (
                    "classifier run" if kind == "backbone" else f"{kind} teacher",
                    MODEL_KEYS[kind_of_role(kind)],
                )
                raise InputError(
                    f"{', '.join(methods)} needs a {what}; add teachers: {{{kind}: RUN}} (train one "
                    f"first with `c2d train`), in a sweep also {{{kind}: {{{key}: ..., schedule: ...}}}}"
                )
            ids[kind] = self._teacher(kind, teacher, values["dataset"])
        if "classifier" in ids and given.get(WEIGHTS) is not None and not are_equal(given[WEIGHTS], ids["classifier"]):
            ids[WEIGHTS] = given[WEIGHTS]
        impressions = given.get("impressions")
        if trains_on_impressions(values, impressions, self.lookup):
            ids["impressions"] = self._teacher("impressions", impressions, values["dataset"])
            self._check_impressions(ids["impressions"], impressions, dataset)
        return ids

    def _teachers_of_impressions(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return the teacher of a synthesis, and of a control the synthesis whose targets it keeps."""
        check_keys_of_impressions(values)
        given = values["teachers"]
        if not given.get("detector"):
            raise InputError(
                "a run of kind impressions is made from a detector; add teachers: {detector: RUN} (train one first "
                "with `c2d train`), in a sweep teachers: {detector: {student: ..., schedule: ...}}"
            )
        ids = {"detector": self._teacher("detector", given["detector"], values["dataset"])}
        if self.lookup.schedule(values["schedule"], "impressions")["values"].get("images_from") in CONTROLS:
            ids["impressions"] = self._new_teacher("impressions", source_of_control(values))
        named = given.get("impressions")
        if named and (run := self.lookup.run(named).id) != ids.get("impressions"):
            raise InputError(
                f"teachers.impressions is {run}; a control ({', '.join(CONTROLS)}) keeps the targets of the run with "
                f"the same values and images_from: optimised ({ids.get('impressions', 'this is none')}); leave it out"
            )
        return ids

    def _check_impressions(self, run: str, given: Any, dataset: Mapping[str, str]) -> None:
        """Check that the images which a student is trained on were made for its data set."""
        if isinstance(given, dict):
            found = self.teachers[run].dataset.model_dump()
        else:
            stored = self.lookup.run(given)
            if stored.kind not in ("impressions", "unknown"):
                raise InputError(
                    f"teachers.impressions: run {run} is a {stored.kind}; give a run of kind impressions (`c2d "
                    "impressions make`)"
                )
            found = dict(stored.dataset) or dict(dataset)
        if found != dict(dataset):
            made_for = f"{found.get('name')} ({found.get('digest', '')[:12]})"
            raise InputError(
                f"teachers.impressions: {run} was made for data set {made_for}, "
                f"the student's is {dataset['name']} ({dataset['digest'][:12]}); make impressions of a teacher of this "
                "data set"
            )

    def _teacher(self, kind: str, given: Any, dataset: Any) -> Any:
        """Return the whole run id of a teacher that is given by its values or by its run; a list of an ensemble."""
        if isinstance(given, list):
            members = [self._teacher(kind, one, dataset) for one in check_ensemble(kind, given)]
            return members[0] if len(members) == 1 else members
        if isinstance(given, dict):
            named = {"kind": kind} if kind == "impressions" else {}
            return self._new_teacher(kind, {"dataset": dataset, **named, **given})
        return self.lookup.run(given).id

    def _new_teacher(self, kind: str, values: dict[str, Any]) -> str:
        key = json.dumps([kind, values], sort_keys=True, default=repr)
        if key not in self._teacher_ids:
            try:
                spec = self.resolve(values)
            except InputError as error:
                raise InputError(f"teachers.{kind}: {error}") from None
            self._teacher_ids[key] = spec.id
            self.teachers.setdefault(spec.id, spec)
        return self._teacher_ids[key]
