"""Specs from names: looked up once, resolved without the disk, mistakes reported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.specs.lookup import StoredRun
from c2d.specs.names import look_up_names, names_in
from c2d.specs.resolve_spec import SpecResolver, resolve_spec
from tests.processor_cost import processor_cost

SPEC: dict[str, Any] = {"dataset": "coco2017", "student": "ssd300-vgg16", "schedule": "ssd"}


def resolver_of(*specs: dict[str, Any], runs: Path = Path("nowhere")) -> SpecResolver:
    return SpecResolver(look_up_names(names_in(specs), runs, Path("nowhere")))


def test_one_spec_and_many_are_resolved_alike(tmp_path: Path) -> None:
    given = {**SPEC, "schedule": {"name": "ssd", "values": {"iterations": 1000}}, "method": [{"icod": {"T": 3}}]}
    given["teachers"] = {"classifier": "net"}
    folder = RunFolder(tmp_path / "net-classifier-0123456789ab-s0")
    atomic_write_json(folder.spec, {"kind": "classifier"})
    resolver = resolver_of(given, runs=tmp_path)
    assert resolver.lookup.runs["net"] == StoredRun(folder.id, "classifier", "waiting")
    spec = resolver.resolve(given)
    assert spec == resolve_spec(given, where="test", runs=tmp_path, data=Path("nowhere"))
    assert spec.teachers.classifier == folder.id
    assert resolver.resolve(given) == spec  # from what was resolved before


def test_resolving_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = resolver_of(SPEC, {"schedule": "smoke"})

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the disk was touched")

    for owner, name in ((Path, "open"), (Path, "is_file"), (Path, "glob"), (Path, "read_text"), (os, "stat")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    specs = [resolver.resolve({**SPEC, "schedule": name, "seed": 3}) for name in ("ssd", "smoke")]
    monkeypatch.undo()
    assert [spec.schedule.name for spec in specs] == ["ssd", "smoke"]


def test_a_teacher_of_many_specs_may_be_described_but_not_of_one() -> None:
    teacher = {"network": "resnet18", "schedule": "coco-ssd", "input": 56}
    given = {**SPEC, "method": ["icod"], "teachers": {"classifier": teacher}}
    resolver = resolver_of(given)
    specs = [resolver.resolve({**given, "seed": seed}) for seed in (0, 1)]
    (run,) = resolver.teachers
    assert run == resolver.teachers[run].id
    assert {spec.teachers.classifier for spec in specs} == {run}
    assert resolver.teachers[run].dataset == specs[0].dataset
    with pytest.raises(InputError, match=r"test: teachers.classifier: .* is not a run id; train it first"):
        resolve_spec(given, where="test", runs=Path("nowhere"), data=Path("nowhere"))


def test_a_teacher_without_a_run_folder_is_given_by_its_whole_id() -> None:
    spec = resolver_of(SPEC).resolve({**SPEC, "method": ["icod"], "teachers": {"classifier": "a-b-s0"}})
    assert spec.teachers.classifier == "a-b-s0"


def test_a_missing_name_is_reported_by_the_spec_that_needs_it() -> None:
    resolver = resolver_of(SPEC, {"student": "ssd301", "init": "no.pth", "schedule": "sdd", "dataset": "coco2016"})
    resolver.resolve(SPEC)
    for key, value, message in (
        ("student", "ssd301", "unknown student 'ssd301'; did you mean 'ssd300-vgg16'"),
        ("init", "no.pth", "names no weights and no file that exists; allowed: none, torchvision:"),
        ("schedule", "sdd", "unknown schedule of a detector 'sdd'; did you mean 'ssd'"),
        ("dataset", "coco2016", "unknown data set 'coco2016'; did you mean 'coco2017'"),
    ):
        with pytest.raises(InputError, match=message):
            resolver.resolve({**SPEC, key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sead": 1}, "unknown key 'sead'; did you mean 'seed'"),
        ({"dataset": 5}, "dataset 5 is not a name"),
        ({"dataset": {"digest": "a"}}, "has no name"),
        ({"dataset": {"name": "coco2017", "digest": "a" * 64}}, "has digest 303b9893912c, the spec wants aaaaaaaaaaaa"),
        ({"student": {"name": "ssd300-vgg16", "digest": "b" * 64}}, "the spec wants bbbbbbbbbbbb"),
        ({"student": None}, "unknown student 'None'"),
        ({"kind": "detektor"}, "kind"),
        ({"method": "icod"}, "method is a list"),
        ({"method": [{"icod": {"T": -1}}]}, "method icod: T: wanted a number above 0, given -1"),
        ({"method": ["icod"]}, "method icod needs a classifier teacher"),
        ({"schedule": {"nam": "ssd"}}, "neither a name nor"),
        ({"schedule": {"name": "ssd", "values": {"batch": 0}}}, "schedule.values.batch: .* greater than 0"),
        ({"init": 3}, "init 3 is not text"),
        ({"teachers": {"clasifier": "a"}}, "unknown kind of teacher 'clasifier'"),
        ({"teachers": "a-run"}, "teachers is 'a-run'; wanted keys"),
        ({"teachers": False}, "teachers is False; wanted keys"),
        ({"method": False}, "method is a list, .*given False"),
        ({"method": ""}, "method is a list, .*given ''"),
        ({"overrides": 0}, r"overrides: .*dictionary \(given 0\)"),
        ({"seed": None}, r"seed: .*\(given None\); leave the key out for its default"),
        ({"overrides": {"a": float("nan")}}, "overrides .* cannot be stored"),
        ({"overrides": {"a": {1, 2}}}, "overrides .* cannot be stored"),
        ({"seed": -1}, "seed: .* greater than or equal to 0"),
    ],
)
def test_errors_of_a_spec(change: dict[str, Any], message: str) -> None:
    given = {**SPEC, **change}
    with pytest.raises(InputError, match=message):
        resolver_of(given).resolve(given)
    with pytest.raises(InputError, match=f"^test: .*{message}"):
        resolve_spec(given, where="test", runs=Path("nowhere"), data=Path("nowhere"))


def test_a_bad_schedule_is_reported_every_time() -> None:
    resolver = resolver_of(SPEC)
    bad = {**SPEC, "schedule": {"name": "ssd", "values": {"batch": 0}}}
    for _ in range(2):
        with pytest.raises(InputError, match="batch"):
            resolver.resolve(bad)
    assert resolver.resolve(SPEC).training.batch == 64


def test_ten_thousand_specs_are_resolved_quickly() -> None:
    """All specs differ and get ids."""
    resolver = resolver_of(SPEC)

    def resolved() -> set[str]:
        return {
            resolver.resolve(
                {
                    **SPEC,
                    "schedule": {"name": "ssd", "values": {"optimizer": {"lr": 0.001 * (1 + number % 10)}}},
                    "method": [{"icod": {"T": 1 + number // 10 % 10, "lambda_kc": 1 + number // 100 % 10}}],
                    "teachers": {"classifier": f"net-classifier-{number // 1000:012d}-s0"},
                }
            ).id
            for number in range(10_000)
        }

    ids, cost = processor_cost(resolved)
    assert len(ids) == 10_000
    assert cost < 80
