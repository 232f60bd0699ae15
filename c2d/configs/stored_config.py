"""Configs as JSON, exactly: what JSON has no form for is an object with one key that begins with `$`.

    (1333, 800)     {"$tuple": [1333, 800]}
    {1, 2}          {"$set": [1, 2]}
    inf, -inf, nan  {"$float": "inf"}
    {1: "a"}        {"$dict": [[1, "a"]]}       keys that are no text, or that begin with $

mmdet treats lists and tuples differently in places, so that both have to survive. numpy's scalars are Python's numbers
of the same value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from c2d.core.errors import InputError

FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def encode(value: Any, path: str = "config") -> Any:
    """Return the JSON value of a plain value.

    Args:
        value: dicts, lists, tuples, sets and scalars.
        path: its dotted key, for the message.

    Raises:
        InputError: it holds something else, such as a class or a function.
    """
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {str(key): encode(item, f"{path}.{key}") for key, item in value.items()}
        return {"$dict": [[encode(key, path), encode(item, f"{path}.{key}")] for key, item in value.items()]}
    if isinstance(value, list):
        return [encode(item, f"{path}.{place}") for place, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": [encode(item, f"{path}.{place}") for place, item in enumerate(value)]}
    if isinstance(value, set):
        return {"$set": [encode(item, path) for item in sorted(value, key=repr)]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(float(value))}
    for kind in (bool, int, float, str):  # numpy's float64 and mmengine's text are subclasses of Python's
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    if hasattr(value, "item") and not hasattr(value, "__len__"):  # a scalar of numpy
        return encode(value.item(), path)
    raise InputError(f"{path} is a {type(value).__name__}; write it as numbers, text, lists or dicts")


def decode(value: Any) -> Any:
    """Return the plain value of what `encode` returned.

    Raises:
        ValueError: an object with a key that begins with `$` and is none of the above.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    tags = [key for key in value if key.startswith("$")]
    if not tags:
        return {key: decode(item) for key, item in value.items()}
    (tag, content), *others = value.items()
    try:
        if others:
            raise ValueError
        match tag:
            case "$tuple" if isinstance(content, list):
                return tuple(decode(item) for item in content)
            case "$set" if isinstance(content, list):
                return {decode(item) for item in content}
            case "$dict" if isinstance(content, list):
                return {decode(key): decode(item) for key, item in content}
            case "$float":
                return FLOATS[content]
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"{tags[0]} is no value of a config that c2d wrote")
