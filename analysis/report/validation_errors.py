"""Turn the errors of pydantic about a report spec into lines: what was given, what is allowed, how to fix it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from c2d.core.errors import unknown_name
from c2d.core.yaml.line_errors import KeyPath


def error_message(item: Mapping[str, Any], path: KeyPath, kind: str, models: Mapping[str, type[BaseModel]]) -> str:
    """Return the message of one error.

    Args:
        item: an item of `ValidationError.errors()`.
        path: the value in the file.
        kind: the kind of spec that the file names.
        models: {kind of spec: its model}.
    """
    given, fault, limits = item["input"], item["type"], item.get("ctx", {})
    if fault == "union_tag_invalid":
        return str(unknown_name("kind", kind, models))
    if fault == "union_tag_not_found":
        return f"no `kind`; write `kind: table`, or one of {', '.join(list(models)[1:])}"
    if fault == "extra_forbidden":
        return str(unknown_name("key", path[-1], _known_keys(models[kind], path)))
    if fault == "missing":
        return "is missing; write it"
    if fault == "value_error":
        return str(limits["error"])
    if fault == "literal_error":
        return f"wanted {limits['expected']}, given {_shown(given)}"
    wanted = {
        "string_type": "a text",
        "list_type": "a list, e.g. [one, another]",
        "dict_type": "a mapping, e.g. {method: baseline}",
        "model_type": "keys and values",
        "int_parsing": "a whole number",
        "int_type": "a whole number",
        "float_parsing": "a number",
        "float_type": "a number",
        "greater_than": "a number above 0",
        "too_short": "at least one",
    }
    return (
        f"wanted {wanted[fault]}, given {_shown(given)}" if fault in wanted else f"{item['msg']}, not {_shown(given)}"
    )


def _known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that the mapping around `path` may have."""
    for part in path[:-1]:
        if part not in model.model_fields:  # the name of an entry, or a place in a list
            continue
        options = get_args(model.model_fields[str(part)].annotation)
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{'a' if value else 'an empty'} {'mapping' if isinstance(value, dict) else 'list'}"
    return repr(value) if value else "nothing"
