"""Methods of a run: defaults written out, names and values checked against the catalog."""

from __future__ import annotations

import re
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.specs.catalog import method_catalog
from c2d.specs.method_schema import check_params, method_names, needed_teachers, resolve_method


def test_method_defaults_are_written_out() -> None:
    catalog = method_catalog()
    ((params,),) = [list(item.values()) for item in resolve_method([{"icod": {}}], catalog)]
    assert params["version"] == catalog["icod"]["version"]
    # Parameters younger than the first runs are left out while they change nothing, so those runs keep their ids.
    later = set(catalog["icod"]["added"])
    assert later == {"weight", "start", "ramp", "decay", "stop"}
    assert set(params) == {"version", *catalog["icod"]["schema"]["properties"]} - later
    ((changed,),) = [list(item.values()) for item in resolve_method([{"icod": {"start": 5, "stop": None}}], catalog)]
    assert set(changed) - set(params) == {"start"}
    assert (params["T"], params["lambda_kc"], params["lambda_kl"], params["lambda_l"]) == (2, 0.4, 0.15, 0.15)
    assert resolve_method([{"icod": params}], catalog) == resolve_method([{"icod": {"T": 2}}], catalog)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ([{"icdo": {}}], "unknown method 'icdo'; did you mean 'icod'"),
        ([{"icod": {"lambda_kx": 1}}], "did you mean"),
        ([{"icod": {}}, {"icod": {}}], "listed twice"),
        ([{"icod": {"version": 99}}], "version 99"),
        ([["icod"]], "write e.g."),
    ],
)
def test_method_errors(method: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_method(method, method_catalog())


def test_needed_teachers() -> None:
    catalog = method_catalog()
    assert needed_teachers([], catalog) == {}
    assert needed_teachers([{"icod": {}}], catalog) == {"classifier": ["icod"]}
    assert needed_teachers(["icod", "fgd", "no-method"], catalog) == {"classifier": ["icod"], "detector": ["fgd"]}


@pytest.mark.parametrize(
    ("params", "needs"),
    [
        ({"lambda_kc": 0, "lambda_kl": 0}, False),
        ({"lambda_kc": 0.0, "lambda_kl": 0.0, "lambda_l": 1}, False),
        ({"lambda_kc": 0}, True),
        ({"lambda_kl": 0}, True),
        ({"lambda_kc": 0, "lambda_kl": 0.15}, True),
        (None, True),
    ],
)
def test_pixels_alone_need_no_teacher(params: Any, needs: bool) -> None:
    catalog = method_catalog()
    assert needed_teachers([{"icod": params}], catalog) == ({"classifier": ["icod"]} if needs else {})
    assert needed_teachers(resolve_method([{"icod": params}], catalog), catalog) == needed_teachers(
        [{"icod": params}], catalog
    )


@pytest.mark.parametrize("method", [None, "icod", 5, [5], [None], [["icod"]], {"icod": {}}])
def test_a_malformed_method_has_no_names(method: Any) -> None:
    assert method_names(method) == []


SCHEMA: dict[str, Any] = {
    "$defs": {"Mode": {"enum": ["a", "b"], "type": "string"}},
    "properties": {
        "number": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "whole": {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}]},
        "mode": {"$ref": "#/$defs/Mode"},
        "names": {"type": "array", "items": {"type": "string"}},
        "sides": {"type": "object", "additionalProperties": {"type": "integer", "maximum": 9}},
        "on": {"type": "boolean"},
        "anything": {},
    },
}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("number", 0, None),
        ("number", 0.5, None),
        ("number", 1, "number: wanted a number at least 0 below 1, given 1"),
        ("number", "0.5", "wanted a number at least 0 below 1, given '0.5'"),
        ("number", True, "given True"),
        ("whole", 2.0, None),
        ("whole", None, None),
        ("whole", 2.5, "whole: wanted a whole number above 0 or null, given 2.5"),
        ("mode", "a", None),
        ("mode", "c", "mode: wanted 'a' or 'b', given 'c'"),
        ("names", ["x"], None),
        ("names", "x", "names: wanted a list, given 'x'"),
        ("names", ["x", 1], "names: wanted text, given 1 for entry 1"),
        ("sides", {"a": 3}, None),
        ("sides", {"a": 10}, "sides: wanted a whole number at most 9, given 10 for a"),
        ("on", False, None),
        ("on", 1, "on: wanted true or false, given 1"),
        ("anything", object, None),
        ("version", 1, None),
    ],
)
def test_values_of_parameters(key: str, value: Any, message: str | None) -> None:
    if message is None:
        check_params("m", {key: value}, SCHEMA)
        return
    with pytest.raises(InputError, match=re.escape(message)):
        check_params("m", {key: value}, SCHEMA)


@pytest.mark.parametrize("name", method_catalog())
def test_the_shipped_defaults_are_allowed(name: str) -> None:
    schema = method_catalog()[name]["schema"]
    check_params(name, {key: rule.get("default") for key, rule in schema["properties"].items()}, schema)
