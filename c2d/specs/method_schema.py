"""A run's methods against the catalog: defaults written out, and values checked, both without torch.

The schema in the catalog is pydantic's JSON Schema of the method's `Params`. What it cannot express (a layer that the
teacher does not have) is checked when the method is built.
"""

from __future__ import annotations

import json
from typing import Any

from c2d.core.errors import InputError, unknown_name

Method = list[dict[str, dict[str, Any]]]
"""Distillation methods of a run: [{name: parameters}, ...]."""

_NAMES = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false",
          "array": "a list", "object": "keys and values", "null": "null"}  # fmt: skip
_BOUNDS = {
    "minimum": ("at least", lambda value, bound: value >= bound),
    "exclusiveMinimum": ("above", lambda value, bound: value > bound),
    "maximum": ("at most", lambda value, bound: value <= bound),
    "exclusiveMaximum": ("below", lambda value, bound: value < bound),
}


def method_names(method: Any) -> list[str]:
    """List the names of the methods in a `method:` list as given in YAML; skip malformed entries."""
    entries = method if isinstance(method, list) else []
    names: list[Any] = []
    for entry in entries:
        names += [entry] if isinstance(entry, str) else list(entry) if isinstance(entry, dict) else []
    return [name for name in names if isinstance(name, str)]


def needed_teachers(method: Any, catalog: dict[str, Any]) -> dict[str, list[str]]:
    """Return {kind of teacher: the methods that need one} in the order classifier, detector.

    Args:
        method: a `method:` list as given in YAML, or a resolved one; names that the catalog does not have are skipped.
        catalog: content of methods/catalog.json.
    """
    items = method if isinstance(method, list) else []
    params = {name: values for item in items if isinstance(item, dict) for name, values in item.items()}
    needed: dict[str, list[str]] = {}
    for name in method_names(method):
        if name in catalog and _has_taught_term(params.get(name), catalog[name]):
            for kind in catalog[name]["teachers"]:
                needed.setdefault(kind, []).append(name)
    return dict(sorted(needed.items()))


def _has_taught_term(params: Any, entry: dict[str, Any]) -> bool:
    """Whether a term that a teacher takes part in has a weight other than 0, by default or as given."""
    taught, given = entry.get("taught", []), params if isinstance(params, dict) else {}
    return not taught or any(given.get(key, entry["schema"]["properties"][key]["default"]) != 0 for key in taught)


def resolve_method(method: list[Any], catalog: dict[str, Any]) -> Method:
    """Write out every default and the version of each method, with one spelling for each number.

    The names of methods and parameters are checked, the values are not: see `check_method`.

    Args:
        method: entries `name` or {name: parameters}; parameters may be null.
        catalog: content of methods/catalog.json: {name: {title, version, teachers, added, schema, ...}}.

    Raises:
        InputError: a malformed entry, an unknown or repeated method, an unknown parameter, or another version.
    """
    resolved: Method = []
    for item in method:
        entry = {item: {}} if isinstance(item, str) else item
        if not isinstance(entry, dict) or len(entry) != 1:
            raise InputError(f"method entry {item!r} is not {{name: parameters}}; write e.g. - icod: {{T: 2}}")
        (name, given), *_ = entry.items()
        if given is not None and not isinstance(given, dict):
            raise InputError(f"method {name}: parameters are keys and values, given {given!r}; write e.g. {{T: 2}}")
        if name not in catalog:
            raise unknown_name("method", name, catalog, "see `c2d methods`")
        if any(name in before for before in resolved):
            raise InputError(f"method {name} is listed twice; one entry with its parameters is enough")
        resolved.append({name: _resolve_params(name, dict(given or {}), catalog[name])})
    return resolved


def _resolve_params(name: str, given: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    defaults = {key: rule.get("default") for key, rule in entry["schema"]["properties"].items()}
    version = given.pop("version", entry["version"])
    if version != entry["version"]:
        raise InputError(
            f"method {name} has version {version} in the spec, this code has {entry['version']}; "
            "numbers of the two are not comparable: leave `version` out to start a new run"
        )
    for key in given:
        if key not in defaults:
            raise unknown_name(f"parameter of {name}", key, defaults, f"see `c2d methods {name}`")
    params = {key: given.get(key, default) for key, default in defaults.items()}
    # Parameters that are younger than the first stored runs are left out at their default: those runs keep their ids.
    younger = entry.get("added", ())
    params = {key: value for key, value in params.items() if key not in younger or value != defaults[key]}
    return {"version": version, **{key: canonical_numbers(value) for key, value in params.items()}}


def canonical_numbers(value: Any) -> Any:
    """Replace every whole float by an int, inside dicts and lists as well: 2.0 and 2 are one number in a hash."""
    # Other values are not passed on to a call: ten thousand cells hash half a million values.
    if isinstance(value, dict):
        return {key: canonical_numbers(item) if isinstance(item, _PASSED_ON) else item for key, item in value.items()}
    if isinstance(value, list):
        return [canonical_numbers(item) if isinstance(item, _PASSED_ON) else item for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


_PASSED_ON = (dict, list, float)


def check_method(method: Method, catalog: dict[str, Any]) -> None:
    """Check every value of a resolved method.

    Args:
        method: from `resolve_method`.
        catalog: content of methods/catalog.json.

    Raises:
        InputError: a value that the schema does not allow, or that spec.json cannot hold.
    """
    for entry in method:
        for name, params in entry.items():
            check_params(name, params, catalog[name]["schema"])
    check_json(method, "method")


def check_json(value: Any, key: str) -> None:
    """Check that spec.json can hold a value: text, finite numbers, true, false, null, lists and keys of text.

    Args:
        value: of `key` in a spec.
        key: for the message.

    Raises:
        InputError: it cannot.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key} {value!r} cannot be stored ({error}); give text or finite numbers") from None


def check_params(name: str, params: dict[str, Any], schema: dict[str, Any]) -> None:
    """Check the values of one method's parameters.

    Args:
        name: the method, for the message.
        params: {parameter: value}; keys that the schema does not have are skipped.
        schema: JSON Schema of the method's `Params`.

    Raises:
        InputError: the first parameter whose value the schema does not allow.
    """
    for key, value in params.items():
        rule = schema["properties"].get(key)
        wrong = rule is not None and _wrong(value, rule, schema.get("$defs") or {})
        if wrong:
            raise InputError(f"method {name}: {key}: wanted {wrong}; see `c2d methods {name}`")


def _wrong(value: Any, rule: dict[str, Any], named: dict[str, Any]) -> str:
    """Return what is allowed and what was given; "" for an allowed value."""
    # pydantic defines nested models and enums once, under $defs.
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
        # As in JSON Schema: true is no number, although a bool is an int for Python, and 2.0 is an integer.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (kind == "number" or float(value).is_integer())
    types: dict[str, Any] = {"string": str, "boolean": bool, "array": list | tuple, "object": dict, "null": type(None)}
    return isinstance(value, types[kind])
