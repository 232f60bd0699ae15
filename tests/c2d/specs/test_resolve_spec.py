"""Names of runs, and questions from names: looked up once, composed without the disk, mistakes told."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.core.run_folder import RunFolder, atomic_write_json
from c2d.core.store_folder import find_run
from c2d.specs.method_schema import check_params
from c2d.specs.resolve_spec import Found, Known, Mentions, ask, compose, distiller_catalog, gather, teacher_run

RUNS = ("net-classifier-0123456789ab-s10", "net-classifier-0123456789ab-s2", "other-baseline-ba9876543210-s0")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in RUNS:
        atomic_write_json(RunFolder(tmp_path / name).spec, {})
    return tmp_path


def test_a_beginning_that_fits_one_run(store: Path) -> None:
    assert find_run("other", store).id == RUNS[2]
    assert find_run(str(store / RUNS[1]), store).id == RUNS[1]


def test_a_beginning_that_fits_two(store: Path) -> None:
    with pytest.raises(InputError, match="fits 2 runs"):
        find_run("net", store)


def test_a_whole_id_is_no_beginning_of_another(store: Path) -> None:
    assert find_run(RUNS[0], store).id == RUNS[0]
    with pytest.raises(InputError, match="unknown run"):
        find_run("net-classifier-0123456789ab-s1", store)


def test_a_teacher_is_looked_up_in_the_students_store(store: Path) -> None:
    student = RunFolder(store / RUNS[2])
    assert teacher_run(RUNS[1], student).path == store / RUNS[1]
    with pytest.raises(InputError, match="is not in"):
        teacher_run("net-classifier-0123456789ab-s1", student)


# ---------------------------------------------------------------------------------------------------------------------
# gather and compose

QUESTION: dict[str, Any] = {"dataset": "coco2017", "student": "ssd300-vgg16", "schedule": "ssd"}


def looked_up(*questions: dict[str, Any], runs: Path = Path("nowhere")) -> Known:
    mentions = Mentions()
    for question in questions:
        for key, value in question.items():
            mentions.add(key, value)
    return gather(mentions, runs, Path("nowhere"))


def test_ask_is_gather_and_compose(tmp_path: Path) -> None:
    given = {**QUESTION, "schedule": {"name": "ssd", "values": {"iterations": 1000}}, "method": [{"icod": {"T": 3}}]}
    given["teachers"] = {"classifier": "net"}
    folder = RunFolder(tmp_path / "net-classifier-0123456789ab-s0")
    atomic_write_json(folder.spec, {"kind": "classifier"})
    known = looked_up(given, runs=tmp_path)
    assert known.runs["net"] == Found(folder.id, "classifier", "waiting")
    spec = compose(given, known, "test")
    assert spec == ask(given, where="test", runs=tmp_path, data=Path("nowhere"))
    assert spec.teachers.classifier == folder.id
    assert compose(given, known, "test") == spec  # from the memo


def test_compose_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    known = looked_up(QUESTION, {"schedule": "smoke"})

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the disk was touched")

    for owner, name in ((Path, "open"), (Path, "is_file"), (Path, "glob"), (Path, "read_text"), (os, "stat")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    specs = [compose({**QUESTION, "schedule": name, "seed": 3}, known, "test") for name in ("ssd", "smoke")]
    monkeypatch.undo()
    assert [spec.schedule.name for spec in specs] == ["ssd", "smoke"]


def test_a_teacher_that_is_not_there_yet_is_its_whole_id() -> None:
    spec = compose({**QUESTION, "method": ["icod"], "teachers": {"classifier": "a-b-s0"}}, looked_up(QUESTION), "test")
    assert spec.teachers.classifier == "a-b-s0"


def test_what_was_not_found_is_told_by_the_question_that_needs_it() -> None:
    known = looked_up(QUESTION, {"student": "ssd301", "init": "no.pth", "schedule": "sdd", "dataset": "coco2016"})
    compose(QUESTION, known, "test")
    for key, value, message in (
        ("student", "ssd301", "unknown student 'ssd301'; did you mean 'ssd300-vgg16'"),
        ("init", "no.pth", "neither none, nor torchvision:NAME, nor a file"),
        ("schedule", "sdd", "unknown schedule of a detector 'sdd'; did you mean 'ssd'"),
        ("dataset", "coco2016", "unknown data set 'coco2016'; did you mean 'coco2017'"),
    ):
        with pytest.raises(InputError, match=message):
            compose({**QUESTION, key: value}, known, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sead": 1}, "unknown key of test: 'sead'; did you mean 'seed'"),
        ({"dataset": 5}, "dataset 5 is no name"),
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
        ({"overrides": {"a": float("nan")}}, "overrides .* cannot be kept"),
        ({"overrides": {"a": {1, 2}}}, "overrides .* cannot be kept"),
        ({"seed": -1}, "seed: .* greater than or equal to 0"),
    ],
)
def test_mistakes_of_a_question(change: dict[str, Any], message: str) -> None:
    given = {**QUESTION, **change}
    with pytest.raises(InputError, match=message):
        compose(given, looked_up(given), "test")
    with pytest.raises(InputError, match=message):
        ask(given, where="test", runs=Path("nowhere"), data=Path("nowhere"))


def test_a_bad_schedule_is_not_remembered_as_a_good_one() -> None:
    known = looked_up(QUESTION)
    bad = {**QUESTION, "schedule": {"name": "ssd", "values": {"batch": 0}}}
    for _ in range(2):
        with pytest.raises(InputError, match="batch"):
            compose(bad, known, "test")
    assert compose(QUESTION, known, "test").schedule.values.batch == 64


def test_ten_thousand_questions_are_composed_in_a_moment() -> None:
    """Every one another, with its id. The best of three, with room for a busy machine."""
    known, took = looked_up(QUESTION), []
    for _ in range(3):
        begun = time.process_time()
        made = {
            compose(
                {
                    **QUESTION,
                    "schedule": {"name": "ssd", "values": {"optimizer": {"lr": 0.001 * (1 + number % 10)}}},
                    "method": [{"icod": {"T": 1 + number // 10 % 10, "lambda_kc": 1 + number // 100 % 10}}],
                    "teachers": {"classifier": f"net-classifier-{number // 1000:012d}-s0"},
                },
                known,
                "test",
            ).id
            for number in range(10_000)
        }
        took.append(time.process_time() - begun)
    assert len(made) == 10_000
    assert min(took) < 3, f"{min(took):.1f} s of processor time"


# ---------------------------------------------------------------------------------------------------------------------
# values of parameters against a schema

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


@pytest.mark.parametrize("name", distiller_catalog())
def test_the_shipped_defaults_are_allowed(name: str) -> None:
    schema = distiller_catalog()[name]["schema"]
    check_params(name, {key: rule.get("default") for key, rule in schema["properties"].items()}, schema)
