"""A method's parameters against the schema its catalog entry ships: a bad value is found where there is no torch.

The schema is pydantic's JSON Schema of the method's `Params`. What it cannot say (a layer the teacher does not have) is
checked when the method is built.
"""

from __future__ import annotations

from typing import Any

from c2d.core.errors import InputError

_NAMES = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false",
          "array": "a list", "object": "keys and values", "null": "null"}  # fmt: skip
_BOUNDS = {
    "minimum": ("at least", lambda value, bound: value >= bound),
    "exclusiveMinimum": ("above", lambda value, bound: value > bound),
    "maximum": ("at most", lambda value, bound: value <= bound),
    "exclusiveMaximum": ("below", lambda value, bound: value < bound),
}


def check_params(name: str, params: dict[str, Any], schema: dict[str, Any]) -> None:
    """Raise InputError naming the first parameter of method `name` whose value its schema does not allow."""
    for key, value in params.items():
        rule = schema["properties"].get(key)
        wrong = rule is not None and _wrong(value, rule, schema.get("$defs") or {})
        if wrong:
            raise InputError(f"method {name}: {key}: wanted {wrong}; see `c2d methods {name}`")


def _wrong(value: Any, rule: dict[str, Any], named: dict[str, Any]) -> str:
    """What was wanted and what was given, or "" for an allowed value."""
    if "$ref" in rule:
        rule = named.get(rule["$ref"].rsplit("/", 1)[-1], {})
    if "anyOf" in rule:
        found = [_wrong(value, part, named) for part in rule["anyOf"]]
        wants = [text.rsplit(", given ", 1)[0] for text in found]
        return "" if "" in found else f"{' or '.join(dict.fromkeys(wants))}, given {value!r}"
    if "enum" in rule or "const" in rule:
        allowed = rule.get("enum", [rule.get("const")])
        return "" if value in allowed else f"{' or '.join(map(repr, allowed))}, given {value!r}"
    kind = rule.get("type")
    if kind not in _NAMES:
        return ""
    bounds = [(word, rule[key], holds) for key, (word, holds) in _BOUNDS.items() if key in rule]
    if not _is(value, kind) or not all(holds(value, bound) for _, bound, holds in bounds):
        return f"{' '.join([_NAMES[kind], *(f'{word} {bound:g}' for word, bound, _ in bounds)])}, given {value!r}"
    inside: list[tuple[str, Any, Any]] = []
    if kind == "array" and isinstance(rule.get("items"), dict):
        inside = [(f"entry {place}", item, rule["items"]) for place, item in enumerate(value)]
    elif kind == "object" and isinstance(rule.get("additionalProperties"), dict):
        inside = [(str(key), item, rule["additionalProperties"]) for key, item in value.items()]
    for place, item, of_it in inside:
        if wrong := _wrong(item, of_it, named):
            return f"{wrong} for {place}"
    return ""


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (kind == "number" or float(value).is_integer())
    types: dict[str, Any] = {"string": str, "boolean": bool, "array": list | tuple, "object": dict, "null": type(None)}
    return isinstance(value, types[kind])
