"""The catalogue, which code without torch reads, equals the code."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import ClassVar

import pytest

from c2d.detectors.recording.layout import DetectorLayout
from c2d.methods import DISTILLERS, catalog
from c2d.methods.__main__ import WRITTEN_BY_HAND, pages, text
from c2d.methods.base import Distiller, Params
from c2d.specs import method_docs


def test_catalog_file_equals_the_code() -> None:
    written = (resources.files("c2d") / "methods" / "catalog.json").read_text(encoding="utf-8")
    assert written == text(), "write it again: python -m c2d.methods"


def test_entries_name_defaults_that_the_parameters_accept() -> None:
    entries = json.loads(json.dumps(catalog()))
    assert set(entries) == set(DISTILLERS)
    for name, method in DISTILLERS.items():
        assert issubclass(method, Distiller)
        assert name == method.NAME
        properties = entries[name]["schema"]["properties"]
        assert all("default" in rule and "description" in rule for rule in properties.values())
        assert method.Params(**{key: rule["default"] for key, rule in properties.items()}) == method.Params()


def test_pages_equal_the_code() -> None:
    folder = Path(__file__).parents[3] / "docs" / "methods"
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    assert {name: text for name, text in found.items() if name not in WRITTEN_BY_HAND} == pages(), (
        "write them again: python -m c2d.methods"
    )


@pytest.mark.parametrize("name", DISTILLERS)
def test_a_method_documents_what_a_user_needs(name: str) -> None:
    entry, kind = catalog()[name], DISTILLERS[name]
    assert "http" in entry["about"]
    assert "epartures" in entry["about"]
    assert all(entry[key] for key in ("cost", "source"))
    assert bool(entry["teachers"]) != entry["soft_labels"]  # what teaches: a teacher, or the labels
    assert set(entry["weights"].values()) <= set(entry["schema"]["properties"])
    assert set(kind.GATED) <= set(kind.WEIGHTS)
    for table in entry["by_detector"].values():
        assert all(entry["schema"]["properties"][key]["default"] is None for key in table)
    shown = method_docs.method_text(name, entry)
    assert all(key in shown for key in entry["schema"]["properties"])
    assert all(f"unverified: {why}" in shown for why in method_docs.unverified(entry).values())
    assert name in method_docs.method_list(catalog())


def test_nulls_become_the_values_of_the_students_detector() -> None:
    class P(Params):
        BY_DETECTOR: ClassVar = {"one-stage": {"a": 1.0, "b": 2.0}, "two-stage": {"a": 5.0}, "fcos": {"a": 3.0}}
        a: float | None = None
        b: float | None = None

    fcos, ssd, faster = (DetectorLayout(name, (), (), None) for name in ("fcos", "ssd", "faster-rcnn"))
    assert (P().with_detector_values(fcos).a, P().with_detector_values(fcos).b) == (3.0, 2.0)
    assert (P(a=0.5).with_detector_values(ssd).a, P().with_detector_values(ssd).a) == (0.5, 1.0)
    assert (P().with_detector_values(faster).a, P().with_detector_values(faster).b) == (5.0, None)
