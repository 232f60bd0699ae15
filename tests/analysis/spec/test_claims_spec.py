"""Sides of claims and their factors, and mistakes of a spec of claims, each with its line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.report.report_spec import parse, read_spec
from analysis.spec.claim_sides import CellSide, Side, plain_side, side_of, terms
from analysis.spec.claims_spec import ClaimsSpec
from c2d.core.errors import InputError

LABELS = st.dictionaries(st.sampled_from(["method", "model", "gain"]), st.sampled_from(["a", "b", "0.1"]), min_size=1)
SIDES = st.recursive(
    LABELS,
    lambda inner: (
        st.lists(inner, min_size=2, max_size=2).map(lambda sides: {"gain": sides})
        | st.lists(inner, min_size=1, max_size=3).map(lambda sides: {"sum": sides})
        | st.lists(inner, min_size=1, max_size=3).map(lambda sides: {"mean": sides})
    ),
    max_leaves=8,
)


def factors(side: Side) -> dict[str, float]:
    """{label of the method: factor}."""
    found: dict[str, float] = {}
    for factor, cell in terms(side):
        label = cell.labels["method"]
        found[label] = found.get(label, 0) + factor
    return found


def test_an_interaction_by_hand() -> None:
    """(kd - base) + (loc - base): 1, 1, -2. Half of that sum and icod, as a mean: 1/2 each."""
    kd, loc, base, icod = ({"method": name} for name in ("kd", "loc", "base", "icod"))
    both = {"sum": [{"gain": [kd, base]}, {"gain": [loc, base]}]}
    assert factors(side_of(both)) == {"kd": 1, "loc": 1, "base": -2}
    assert factors(side_of({"mean": [both, icod]})) == {"kd": 0.5, "loc": 0.5, "base": -1, "icod": 0.5}


def test_an_axis_may_have_the_name_of_a_form_and_a_cell_its_own_sweep() -> None:
    assert side_of({"gain": "a", "sweep": "few"}) == CellSide({"gain": "a"}, "few")
    assert side_of({"T": 2, "lr": 0.10}) == CellSide({"T": "2", "lr": "0.1"})


@settings(max_examples=80, deadline=None)
@given(given_side=SIDES)
def test_a_side_is_written_as_it_was_and_its_factors_add_up(given_side: dict[str, Any]) -> None:
    side = side_of(given_side)
    assert plain_side(side) == given_side

    def total(of: dict[str, Any]) -> float:
        (key, value), *_ = of.items()
        if not isinstance(value, list):
            return 1.0
        parts = [total(inner) for inner in value]
        return parts[0] - parts[1] if key == "gain" else sum(parts) / (len(parts) if key == "mean" else 1)

    assert math.fsum(factor for factor, _ in terms(side)) == pytest.approx(total(given_side), abs=1e-9)


SPEC = """kind: claims
margin: {AP: 1.0}
claims:
  it:
    says: it is so
    column: AP
    more: {method: kd}
    less: {method: baseline}
"""


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_spec(path)
    return str(caught.value).replace(str(path), "FILE").splitlines()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("AP: 1.0", "AP: 0", "FILE:2: margin.AP: wanted a number above 0, given '0'"),
        ("AP: 1.0", "APP: 1", "FILE:2: margin.APP: unknown column 'APP'"),
        ("    says: it is so\n", "", "FILE:4: claims.it.says: is missing"),
        ("says: it is so", "says: $x", "FILE:5: claims.it.says: the label '$x' has an unclosed $"),
        ("    column: AP\n", "", "FILE:4: claims.it: no `column`; write which number is compared"),
        ("column: AP", "colum: AP", "FILE:6: claims.it.colum: unknown key 'colum'; did you mean 'column'?"),
        ("{method: kd}", "{gian: [{method: kd}, {method: x}]}", "FILE:7: claims.it.more: unknown form 'gian'; did you"),
        ("{method: kd}", "{gain: [{method: kd}]}", "FILE:7: claims.it.more: gain has 1 sides; it takes two"),
        (
            "{method: kd}",
            "{gain: [{method: a}, {method: b}], method: c}",
            "claims.it.more: gain and method in one side",
        ),
        ("{method: kd}", "kd", "FILE:7: claims.it.more: wanted a side of the comparison, given 'kd'"),
        ("{method: kd}", "{method: {a: b}}", "FILE:7: claims.it.more: method: wanted a label"),
        ("    less: {method: baseline}\n", "", "FILE:4: claims.it: has no `less`"),
        ("    less: {method: baseline}\n", "    less: []\n", "FILE:8: claims.it.less: an empty list"),
        ("    more: {method: kd}\n", "    same: [{method: a}]\n", "FILE:7: claims.it.same: wanted two sides, given 1"),
        ("    more: {method: kd}\n    less: {method: baseline}\n", "", "FILE:4: claims.it: compares nothing"),
        ("column: AP\n", "column: AP\n    any: [{column: AP50}]\n", "has any and more; write one of"),
        ("claims:\n", "where: {method: [kd]}\nclaims:\n", "FILE:1: `where` is not for claims"),
    ],
)
def test_mistakes_are_lines_with_the_fix(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in SPEC
    assert words in "\n".join(mistakes(tmp_path, SPEC.replace(old, new, 1)))


def test_sweeps_are_those_of_cells_comparisons_claims_and_the_file() -> None:
    base = {"method": "b"}
    claims = {
        "a": {"says": "a", "column": "AP", "more": {"method": "x", "sweep": "cell"}, "less": base, "sweep": "claim"},
        "b": {"says": "b", "column": "AP", "any": [{"more": {"method": "x"}, "less": base, "sweep": "part"},
                                                   {"more": {"method": "x"}, "less": base}]},
    }  # fmt: skip
    spec = parse({"kind": "claims", "claims": claims})
    assert isinstance(spec, ClaimsSpec)
    assert spec.sweeps("report") == ["cell", "claim", "part", "report"]
    assert parse({"kind": "claims", "sweep": "file", "claims": claims}).sweeps("report")[-1] == "file"
    assert parse(spec.model_dump(exclude_unset=True)) == spec


_VALUES = st.recursive(
    st.one_of(st.just(""), st.sampled_from(["AP", "a", "0", "x"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "gain", "sum"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(values=st.dictionaries(st.sampled_from(["says", "column", "more", "less", "same", "all", "any", "at"]), _VALUES))
def test_any_values_are_claims_or_mistakes_with_lines(
    values: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-claims.yaml"
    path.write_text(json.dumps({"kind": "claims", "claims": {"it": values}}, indent=1))
    try:
        assert isinstance(read_spec(path), ClaimsSpec)
    except InputError as error:
        for line in str(error).splitlines():
            assert re.match(re.escape(f"{path}:") + "[0-9]+: ", line), line
