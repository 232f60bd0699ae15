"""The grammar of `init`: what is allowed for which run, and the teacher that it asks for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from c2d.core.errors import InputError
from c2d.specs.first_weights import inherits, joined, network_source
from c2d.specs.resolve_spec import resolve_spec
from c2d.specs.spec import RunSpec
from tests.c2d.conftest import TinyStore


@pytest.mark.parametrize(
    ("init", "source", "inherited"),
    [
        ("none", "none", False),
        ("teacher", "none", True),
        ("torchvision:resnet50.IMAGENET1K_V1", "torchvision:resnet50.IMAGENET1K_V1", False),
        ("package:efficientnet-lite0+teacher", "package:efficientnet-lite0", True),
        ("weights/mine.pth+teacher", "weights/mine.pth", True),
    ],
)
def test_an_init_has_two_parts(init: str, source: str, inherited: bool) -> None:
    assert (network_source(init), inherits(init)) == (source, inherited)
    assert joined(source, inherited) == init


def spec(tiny_store: TinyStore, **changes: Any) -> RunSpec:
    given = {"dataset": "scenes", "student": "retinanet-qr18", "schedule": "smoke", **changes}
    return resolve_spec(given, where="test", runs=tiny_store.runs, data=tiny_store.data)


def test_a_teacher_that_no_method_needs_is_kept_for_init_alone(tiny_store: TinyStore) -> None:
    run = tiny_store.create_run(seed=5)
    teachers = {"detector": run.id}
    without, plain = spec(tiny_store, teachers=teachers), spec(tiny_store)
    assert without.teachers.detector is None
    assert without.id == plain.id
    inherited = spec(tiny_store, teachers=teachers, init="teacher")
    assert inherited.teachers.detector == run.id
    assert inherited.id != plain.id
    assert spec(tiny_store, teachers=teachers, init="none+teacher").id == inherited.id
    other = tiny_store.create_run(seed=6)
    assert spec(tiny_store, teachers={"detector": other.id}, init="teacher").id != inherited.id


def test_a_file_is_kept_and_joined(tiny_store: TinyStore, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"weights")
    run = tiny_store.create_run(seed=5)
    found = spec(tiny_store, teachers={"detector": run.id}, init=f"{tmp_path}/w.pth+teacher")
    assert found.init == f"sha256:{hashlib.sha256(b'weights').hexdigest()}+teacher"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": "teacher"}, r"init teacher needs a detector teacher; add teachers: \{detector: RUN\}"),
        ({"init": "package:efficientnet-lite0+teacher"}, "init package:efficientnet-lite0.teacher needs a detector"),
        ({"init": "sha256:12"}, "String should match pattern"),
        ({"init": "package:efficientnet-lite9"}, "did you mean 'efficientnet-lite"),
        ({"init": "package:efficientnet-lite9+teacher"}, "did you mean 'efficientnet-lite"),
        ({"init": "nothing.pth+teacher"}, r"init 'nothing.pth\+teacher' names no weights and no file"),
        (
            {
                "init": "teacher",
                "student": ...,
                "network": "resnet18",
                "schedule": "demo-classifier",
            },
            "takes neck and heads from the detector teacher of a student",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str, tiny_store: TinyStore) -> None:
    given = {"dataset": "scenes", "student": "retinanet-qr18", "schedule": "smoke", **changes}
    with pytest.raises(InputError, match=message):
        resolve_spec(
            {key: value for key, value in given.items() if value is not ...},
            where="test", runs=tiny_store.runs, data=tiny_store.data,
        )  # fmt: skip
