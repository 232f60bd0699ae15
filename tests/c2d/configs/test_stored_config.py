"""Configs as JSON: every value comes back with its type."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from c2d.configs.stored_config import decode, encode
from c2d.core.errors import InputError


def same(first: Any, second: Any) -> bool:
    """Equal in value and type at every depth; nan equals nan."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second or (first != first and second != second))


VALUES: list[Any] = [
    None, True, 0, -7, 2**70, 0.1, 1e-320, -0.0, math.inf, -math.inf, math.nan, "", "ä\n'\"\\", "\ud800", "{{ x }}",
    [], (), {}, set(), (1333, 800), [(1, 2), [3, (4,)]], {"a": ({"b": None},)}, {1, 2}, {(1, 2)},
    {1: "one", "two": 2}, {"$tuple": [1]}, {"$": 1, (1, 2): 3},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_with_its_type(value: Any) -> None:
    found = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert same(found, value)
    assert math.copysign(1, found) == math.copysign(1, value) if value == 0.0 and isinstance(value, float) else True


def test_scalars_of_numpy_are_numbers_of_the_same_value() -> None:
    found = encode({"a": np.float32(0.1), "b": np.float64(0.1), "c": np.int64(3), "d": np.bool_(True), "e": np.inf})
    assert same(decode(found), {"a": 0.10000000149011612, "b": 0.1, "c": 3, "d": True, "e": math.inf})


@pytest.mark.parametrize("value", [{"a": {"b": [open]}}, {"a": {"b": [np.zeros(2)]}}, {"a": {"b": [b"x"]}}])
def test_a_value_that_is_not_plain_is_named(value: Any) -> None:
    with pytest.raises(InputError, match=r"config\.a\.b\.0 is a \w+; write it as numbers, text, lists or dicts"):
        encode(value)


@pytest.mark.parametrize(
    "value",
    [
        {"$tupel": [1]},
        {"$tuple": 1},
        {"$tuple": [], "a": 1},
        {"$float": "1"},
        {"$float": []},
        {"$set": [[1]]},
        {"$dict": [1]},
    ],
)
def test_an_unknown_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="is no value of a config that c2d wrote"):
        decode({"a": [value]})
