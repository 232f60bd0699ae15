"""Pipes, folders, sockets, 2 GB of nothing and names that no file can have: one line from every reader, at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from c2d.core.errors import InputError
from c2d.core.yaml.yaml_lines import read_mapping
from c2d.data.card_lookup import load_card
from c2d.data.coco_file import read_coco
from c2d.data.voc.voc_xml import BadAnnotation, read_annotation
from c2d.specs.resolve_spec import resolve_spec
from sweeps.definition.definition import read_definition
from sweeps.definition.profile import load_profile
from tests.sweeps.state.test_damaged_runs import CONTENTS, odd_files

READERS: dict[str, Callable[[Path], object]] = {
    "a.json": read_coco,
    "card.json": lambda path: load_card(str(path)),
    "a.xml": read_annotation,
    "profile.yaml": lambda path: load_profile(str(path)),
    "question.yaml": lambda path: read_definition(str(path)),
    "spec.yaml": lambda path: resolve_spec(read_mapping(path), where="spec.yaml", runs=path.parent),
}
SPEC = {"dataset": "coco2017", "student": "retinanet-qr18", "schedule": "smoke"}


@pytest.mark.parametrize("name", READERS)
def test_odd_files(tmp_path: Path, name: str) -> None:
    for kind in odd_files(tmp_path / name):
        begun = time.monotonic()
        with pytest.raises((InputError, BadAnnotation)) as found:
            READERS[name](tmp_path / name)
        assert "\n" not in str(found.value) or kind in CONTENTS, kind
        assert time.monotonic() - begun < 30, kind


@pytest.mark.parametrize("given", ["a" * 300, "a\0b", "a/" * 3000, "9" * 5000])
@pytest.mark.parametrize("key", ["dataset", "student", "schedule", "init", "teachers"])
def test_names_that_no_file_can_have_do_not_exist(tmp_path: Path, key: str, given: str) -> None:
    value = {"classifier": given} if key == "teachers" else given
    with pytest.raises(InputError) as found:
        resolve_spec(SPEC | {"method": [{"icod": {}}], key: value}, where="spec.yaml", runs=tmp_path)
    assert len(str(found.value)) < 3000
    with pytest.raises(InputError, match="unknown profile"):
        load_profile(given)
