"""The keys a sweep may set, and how what is set becomes a question.

`schedule` sets the whole value, `schedule.optimizer.lr` one value inside it, `method.icod.T` a parameter of every
method of that name, `teacher.classifier.network` a key of a teacher's block. The more dots, the later a key is applied,
so the order of keys in a file decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from c2d.core.errors import closest_name, unknown_name
from c2d.specs.spec import Schedule, TeacherSchedule

WHOLE = ("dataset", "student", "network", "schedule", "input", "init", "method", "overrides")
DOTTED = ("overrides.KEY", "schedule.VALUE", "method.DISTILLER.PARAMETER", "teacher.KIND.KEY")
SUBJECT = {"classifier": "network", "detector": "student"}  # what a teacher of each kind is called
BLOCK = ("dataset", "schedule", "input", "init", "overrides", "seed")
ELSEWHERE = {
    "seed": "seeds have a key of their own: `seeds: 3`, or `seeds: [0, 7]`",
    "seeds": "seeds have a key of their own at the top of the file",
    "teachers": "teachers have a key of their own at the top of the file; an axis sets teacher.KIND.KEY",
    "name": "a run's name follows from its question",
    "kind": "a network makes a classifier, a student a detector",
}


def key_mistake(key: str, methods: Mapping[str, Any]) -> str:
    """What is wrong with a settable key, with the closest that exists; "" for a right one.

    Args:
        methods: content of distillers/catalog.json.
    """
    if key in WHOLE:
        return ""
    head, *rest = key.split(".")
    if key in ELSEWHERE:
        return f"is no key of a question; {ELSEWHERE[key]}"
    if not rest and (close := closest_name(key, [*WHOLE, *ELSEWHERE])) in ELSEWHERE:
        return f"unknown key '{key}'; did you mean '{close}'? {ELSEWHERE[close]}"
    if not rest or head not in ("overrides", "schedule", "method", "teacher") or "" in rest:
        return str(unknown_name("key", key, [*WHOLE, *DOTTED]))
    if head == "schedule":
        return _schedule_mistake(rest, (Schedule, TeacherSchedule))
    if head == "method":
        return _method_mistake(rest, methods)
    return block_mistake(rest[0], ".".join(rest[1:])) if head == "teacher" else ""


def block_mistake(kind: str, key: str) -> str:
    """The same for a key of a teacher's block; `kind` classifier or detector."""
    if kind not in SUBJECT:
        return str(unknown_name("kind of teacher", kind, SUBJECT))
    allowed = (SUBJECT[kind], *BLOCK)
    head, *rest = key.split(".")
    if key in allowed or (head == "overrides" and rest and "" not in rest):
        return ""
    if head == "schedule" and rest:
        return _schedule_mistake(rest, (TeacherSchedule if kind == "classifier" else Schedule,))
    return str(unknown_name(f"key of a {kind} teacher:", key, [*allowed, "schedule.VALUE", "overrides.KEY"]))


def _schedule_mistake(rest: list[str], models: Iterable[type[BaseModel]]) -> str:
    """Walk into the schedule's models; any of them may have the key."""
    inside = list(models)
    for place, part in enumerate(rest):
        fields = {name: info.annotation for model in inside for name, info in model.model_fields.items()}
        if part not in fields:
            above = ".".join(["schedule", *rest[:place]])
            return str(unknown_name(f"key of {above}:", part, fields) if fields else f"{above} has no keys inside")
        kind = fields[part]
        inside = [kind] if isinstance(kind, type) and issubclass(kind, BaseModel) else []
    return ""


def _method_mistake(rest: list[str], methods: Mapping[str, Any]) -> str:
    name = rest[0]
    if name not in methods:
        return str(unknown_name("distiller", name, methods, "see `c2d methods`"))
    params = methods[name]["schema"]["properties"]
    if len(rest) != 2 or rest[1] not in params:
        given = ".".join(rest[1:]) or "nothing"
        return str(unknown_name(f"parameter of {name}", given, params, f"write method.{name}.PARAMETER"))
    return ""


def settle(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys without `teacher.` as the keys of a question; a parameter of a method that is not there is left out.

    Nothing of `values` is changed; what is set inside a value goes into a copy of it.
    """
    question: dict[str, Any] = {}
    params: dict[str, dict[str, Any]] = {}
    for key in sorted(values, key=_depth):
        head, _, rest = key.partition(".")
        if not rest:
            question[key] = values[key]
        elif head == "schedule":
            question[head] = _schedule_with(question.get(head), rest.split("."), values[key])
        elif head == "overrides":
            question[head] = {**(question.get(head) or {}), rest: values[key]}
        elif head == "method":
            name, _, parameter = rest.partition(".")
            params.setdefault(name, {})[parameter] = values[key]
    if params and isinstance(question.get("method"), list):
        question["method"] = [_entry_with(entry, params) for entry in question["method"]]
    return question


def _depth(key: str) -> int:
    return key.count(".")


def _schedule_with(given: Any, keys: list[str], value: Any) -> Any:
    if not isinstance(given, str | dict):
        return given  # absent or malformed; compose says so
    reference = {"name": given} if isinstance(given, str) else given
    return {**reference, "values": _with(reference.get("values"), keys, value)}


def _with(inside: Any, keys: list[str], value: Any) -> dict[str, Any]:
    first, *rest = keys
    own = inside if isinstance(inside, dict) else {}
    return {**own, first: _with(own.get(first), rest, value) if rest else value}


def _entry_with(entry: Any, params: Mapping[str, dict[str, Any]]) -> Any:
    """`{icod: {T: 2}}` or `icod` with the parameters that are set for it."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict):
        return entry
    return {
        name: {**(given or {}), **params[name]} if name in params and isinstance(given, dict | None) else given
        for name, given in entry.items()
    }


def distillers_in(method: Any) -> set[str]:
    """Names of the distillers in a method's list; what is malformed holds none."""
    entries = method if isinstance(method, list) else []
    return {name for entry in entries for name in ([entry] if isinstance(entry, str) else entry or ())
            if isinstance(name, str)}  # fmt: skip
