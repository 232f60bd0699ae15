"""Overrides of a spec: values of train_config.py that no key of the spec has."""

from __future__ import annotations

import re
from typing import Any

from c2d.core.errors import InputError, unknown_name
from c2d.training.override_types import check_override_types

SPEC_KEYS = ("method", "teachers", "init", "seed")
"""Keys of train_config.py that repeat parts of the spec; an override would change nothing but the run id."""
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.?(inf|nan)", re.IGNORECASE)
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "none", "~")


def apply_overrides(training: dict[str, Any], overrides: dict[str, Any]) -> None:
    """Apply overrides.

    The key must exist, or its parent must have a `type` which may take the key: a misspelt key must not pass for an
    ablation. The value must be of the kind that the config has there.

    Args:
        training: content of train_config.py; it is changed.
        overrides: {dotted key: value}.

    Raises:
        InputError: a key that does not exist or that belongs to the spec, a value of another kind, or a type that
            is not registered.
    """
    check_override_types(overrides)
    for dotted, value in overrides.items():
        if dotted.split(".")[0] in SPEC_KEYS or dotted == "train_cfg.val_interval":
            raise InputError(f"override '{dotted}' is a part of the spec itself; set it there, not as an override")
        node: Any = training
        *parents, last = dotted.split(".")
        for part in parents:
            node = _child(node, part, dotted)
        if isinstance(node, list):
            _check_kind(dotted, _child(node, last, dotted), value)
            node[int(last)] = value
        elif not isinstance(node, dict):
            raise unknown_name(
                "override", dotted, [], "its parent is a value, not keys; keys are those of train_config.py"
            )
        elif last in node or "type" in node:
            _check_kind(dotted, node.get(last), value)
            node[last] = value
        else:
            raise unknown_name(
                "override", dotted, [".".join([*parents, key]) for key in node], "keys are those of train_config.py"
            )


def _check_kind(dotted: str, before: Any, value: Any) -> None:
    """Check that a value is of the kind that the config has, inside dicts and lists as well.

    Args:
        dotted: key of the override.
        before: what the config has there; None where it has nothing.
        value: what is given.

    Raises:
        InputError: a truth value for a number or the reverse, text for either of them, no text for a `type`; for a
            number of the optimizer, anything but a number; also where the config has no value, for text that reads as
            a number or a truth value.
    """
    if _is_number(before) and dotted.startswith("optim_wrapper.") and not _is_number(value):
        raise _wrong_kind(dotted, before, value, "a number, without quotes")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_kind(f"{dotted}.{key}", before.get(key) if isinstance(before, dict) else None, item)
    elif isinstance(value, list):
        items = list(before) if isinstance(before, list | tuple) else []
        for index, item in enumerate(value):
            # A longer list goes on in the kind of its last element.
            _check_kind(f"{dotted}.{index}", items[min(index, len(items) - 1)] if items else None, item)
    elif isinstance(before, bool):
        # Some options are a truth value or a word, e.g. FPN's add_extra_convs.
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise _wrong_kind(dotted, before, value, "true or false")
        if isinstance(value, str) and _reads_as_scalar(value):
            raise _wrong_kind(dotted, before, value, "true or false without quotes")
    elif isinstance(before, int | float):
        if isinstance(value, bool | str):
            raise _wrong_kind(dotted, before, value, "a number, without quotes")
    elif isinstance(before, str) and dotted.endswith(".type") and not isinstance(value, str):
        raise _wrong_kind(dotted, before, value, "the name of a type")
    elif isinstance(value, str) and not isinstance(before, str) and _reads_as_scalar(value):
        raise _wrong_kind(dotted, before, value, "it without quotes, for a number, a truth value or null")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reads_as_scalar(text: str) -> bool:
    return text.strip().lower() in _WORDS or _NUMBER.fullmatch(text.strip()) is not None


def _wrong_kind(dotted: str, before: Any, value: Any, allowed: str) -> InputError:
    kept = "has no value there" if before is None else f"has {before!r} there"
    return InputError(f"override '{dotted}' is {value!r}, and the config {kept}; write {allowed}")


def _child(node: Any, part: str, dotted: str) -> Any:
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    if isinstance(node, dict) and part in node:
        return node[part]
    known = (
        list(node)
        if isinstance(node, dict)
        else [str(index) for index in range(len(node))]
        if isinstance(node, list)
        else []
    )
    raise unknown_name(f"part of override '{dotted}':", part, known, "keys are those of train_config.py")
