"""The keys that the cells of a sweep may set (`KEYS`), their checks, and how dotted keys are nested into a spec.

`schedule` sets a whole value, `schedule.optimizer.lr` one value inside it, `schedule.scale_to_batch` the batch it is
scaled to, `method.icod.T` a parameter of every method of that name, `teacher.classifier.network` a key of a teacher's
block. A key with more dots is applied later, so the order of keys in a file changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from c2d.core.errors import closest_name, unknown_name
from c2d.core.yaml.strict import Strict
from c2d.specs.impressions_schedule import ImpressionsSchedule
from c2d.specs.scaling.linear_rule import BATCH_KEY
from c2d.specs.schedule import CLASSIFIER_SCHEDULES, Schedule, schedule_key_mistake
from c2d.specs.spec import KINDS
from c2d.specs.teachers import TEACHER_KEYS, WEIGHTS, kind_of_role


@dataclass(frozen=True)
class SettableKey:
    """A key of a run's spec, as the cells of a sweep and the blocks of its teachers see it.

    Attributes:
        teachers: kinds of run whose block may have the key. Impressions are not trained: they have a schedule and a
            seed, the data set of the student, and the detector of the definition.
        dotted: what may follow the key after a dot, for messages; "" where nothing may.
        instead: why no cell sets the key, and what to write; "" for a key that cells set.
    """

    teachers: tuple[str, ...] = ("classifier", "detector")
    dotted: str = ""
    instead: str = ""


KEYS: dict[str, SettableKey] = {
    "dataset": SettableKey(),
    "student": SettableKey(teachers=("detector",)),
    "network": SettableKey(teachers=("classifier",)),
    "schedule": SettableKey(teachers=KINDS, dotted="VALUE"),
    "input": SettableKey(),
    "init": SettableKey(),
    "text_embeddings": SettableKey(teachers=("classifier",)),
    "data_free": SettableKey(teachers=()),
    "method": SettableKey(teachers=(), dotted="METHOD.PARAMETER"),
    "overrides": SettableKey(dotted="KEY"),
    "seed": SettableKey(teachers=KINDS, instead="seeds have a key of their own: `seeds: 3`, or `seeds: [0, 7]`"),
    "seeds": SettableKey(teachers=(), instead="seeds have a key of their own at the top of the file"),
    "teachers": SettableKey(
        teachers=(), instead="teachers have a key of their own at the top of the file; an axis sets teacher.KIND.KEY"
    ),
    "name": SettableKey(teachers=(), instead="a run's name follows from its spec"),
    "kind": SettableKey(teachers=(), instead="a network makes a classifier, a student a detector"),
}
SCHEDULE_MODELS: dict[str, tuple[type[Strict], ...]] = {
    "classifier": CLASSIFIER_SCHEDULES,
    "detector": (Schedule,),
    "impressions": (ImpressionsSchedule,),
}
"""{kind of teacher: its kinds of schedule}."""
CELL_KEYS = tuple(name for name, key in KEYS.items() if not key.instead)


def key_mistake(key: str, methods: Mapping[str, Any]) -> str:
    """Check a key that `base` or an axis sets.

    Args:
        key: as in the file, with its dots.
        methods: content of methods/catalog.json.

    Returns:
        What is wrong, with the closest key that exists; "" for a key that cells set.
    """
    if key in CELL_KEYS:
        return ""
    if key in KEYS:
        return f"cannot be set by a cell; {KEYS[key].instead}"
    head, *rest = key.split(".")
    if not rest and (close := closest_name(key, KEYS)) and KEYS[close].instead:
        return f"unknown key '{key}'; did you mean '{close}'? {KEYS[close].instead}"
    if head == "teacher" and rest and "" not in rest:
        return teacher_key_mistake(rest[0], ".".join(rest[1:]))
    if not rest or "" in rest or head not in CELL_KEYS or not KEYS[head].dotted:
        return str(unknown_name("key", key, [*_listed(CELL_KEYS), "teacher.KIND.KEY"]))
    if head == "schedule":
        return "" if rest == [BATCH_KEY] else schedule_key_mistake(rest, (Schedule, *CLASSIFIER_SCHEDULES))
    return _method_mistake(rest, methods) if head == "method" else ""


def teacher_key_mistake(kind: str, key: str) -> str:
    """Check a key of a teacher's block.

    Args:
        kind: one of TEACHER_KEYS; another one is a mistake.
        key: as in the file, with its dots.

    Returns:
        What is wrong, with the closest key that exists; "" for a key that the block may have.
    """
    if kind not in TEACHER_KEYS:
        return str(unknown_name("kind of teacher", kind, TEACHER_KEYS))
    allowed = [name for name, settable in KEYS.items() if kind_of_role(kind) in settable.teachers]
    if not key:
        return f"teacher.{kind} is a block of `teachers`; in base and on an axis write its keys: " + ", ".join(
            f"teacher.{kind}.{name}" for name in _listed(allowed)
        )
    head, *rest = key.split(".")
    if key in allowed or (head == "overrides" and head in allowed and rest and "" not in rest):
        return ""
    if head == "schedule" and rest == [BATCH_KEY] and kind != "impressions":
        return ""
    if head == "schedule" and rest:
        return schedule_key_mistake(rest, SCHEDULE_MODELS[kind_of_role(kind)])
    what = "key of impressions:" if kind == "impressions" else f"key of a {kind} teacher:"
    return str(unknown_name(what, key, _listed(allowed)))


def _listed(names: Iterable[str]) -> list[str]:
    """Return the names, and their dotted forms: schedule, schedule.VALUE, ..."""
    return [listed for name in names for listed in (name, f"{name}.{KEYS[name].dotted}") if not listed.endswith(".")]


def _method_mistake(rest: list[str], methods: Mapping[str, Any]) -> str:
    name = rest[0]
    if name not in methods:
        return str(unknown_name("method", name, methods, "see `c2d methods`"))
    params = methods[name]["schema"]["properties"]
    if len(rest) != 2 or rest[1] not in params:
        given = ".".join(rest[1:]) or "nothing"
        return str(unknown_name(f"parameter of {name}", given, params, f"write method.{name}.PARAMETER"))
    return ""


def split_teacher_keys(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split {settable key: value} into the cell's own keys and {kind of teacher: {key of its block: value}}."""
    own: dict[str, Any] = {}
    blocks: dict[str, dict[str, Any]] = {kind: {} for kind in TEACHER_KEYS}
    for key, value in values.items():
        if key.startswith("teacher."):
            _, kind, inner = key.split(".", 2)
            blocks[kind][inner] = value
        else:
            own[key] = value
    return own, blocks


def nest_keys(values: Mapping[str, Any], teachers: Mapping[str, Any]) -> dict[str, Any]:
    """Nest the dotted keys of one cell into the values of a spec. Arguments are not changed.

    Args:
        values: {settable key: value} of the cell.
        teachers: {kind: block of keys, the id of a finished run, or a list of these} of the definition, and the
            weights of an ensemble.

    Returns:
        {key of a spec: value}; a teacher is {key of its own spec: value}, or a run id. Impressions are made from the
        detector of the same cell. A parameter of a method that the cell does not have is left out.
    """
    own, blocks = split_teacher_keys(values)
    nested = _nested(own)
    for kind, block in blocks.items():
        given = teachers.get(kind, {})
        if isinstance(given, list):
            teacher: Any = [one if isinstance(one, str) else _nested(one) for one in given]
        else:
            teacher = given if isinstance(given, str) else _nested({**given, **block})
        if teacher:
            nested.setdefault("teachers", {})[kind] = teacher
    if WEIGHTS in teachers:
        nested.setdefault("teachers", {})[WEIGHTS] = teachers[WEIGHTS]
    named = nested.get("teachers", {})
    if isinstance(impressions := named.get("impressions"), dict) and "detector" in named:
        named["impressions"] = {**impressions, "teachers": {"detector": named["detector"]}}
    return nested


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    params: dict[str, dict[str, Any]] = {}
    # A whole value before the values inside it, whatever their order in the file.
    for key in sorted(values, key=lambda key: key.count(".")):
        head, _, rest = key.partition(".")
        if not rest:
            nested[key] = values[key]
        elif head == "schedule":
            nested[head] = _schedule_with(nested.get(head), rest.split("."), values[key])
        elif head == "overrides":
            nested[head] = {**(nested.get(head) or {}), rest: values[key]}
        elif head == "method":
            name, _, parameter = rest.partition(".")
            params.setdefault(name, {})[parameter] = values[key]
    if params and isinstance(nested.get("method"), list):
        nested["method"] = [_entry_with(entry, params) for entry in nested["method"]]
    return nested


def _schedule_with(given: Any, keys: list[str], value: Any) -> Any:
    if not isinstance(given, str | dict):
        return given  # missing or malformed: reported when the spec is resolved
    reference = {"name": given} if isinstance(given, str) else given
    if keys == [BATCH_KEY]:
        return {**reference, BATCH_KEY: value}
    return {**reference, "values": _with(reference.get("values"), keys, value)}


def _with(inside: Any, keys: list[str], value: Any) -> dict[str, Any]:
    first, *rest = keys
    own = inside if isinstance(inside, dict) else {}
    return {**own, first: _with(own.get(first), rest, value) if rest else value}


def _entry_with(entry: Any, params: Mapping[str, dict[str, Any]]) -> Any:
    """Return `{icod: {T: 2}}` or `icod` with the parameters that are set for it."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict):
        return entry
    return {
        name: {**(given or {}), **params[name]} if name in params and isinstance(given, dict | None) else given
        for name, given in entry.items()
    }
