"""The catalogue for rooms without torch says what the code says."""

from __future__ import annotations

import json
from importlib import resources

from c2d.distillers import DISTILLERS, catalog
from c2d.distillers.__main__ import text
from c2d.distillers.base import Distiller


def test_catalog_file_equals_the_code() -> None:
    written = (resources.files("c2d") / "distillers" / "catalog.json").read_text(encoding="utf-8")
    assert written == text(), "write it again: python -m c2d.distillers"


def test_entries_name_defaults_that_the_parameters_accept() -> None:
    entries = json.loads(json.dumps(catalog()))
    assert set(entries) == set(DISTILLERS)
    for name, method in DISTILLERS.items():
        assert issubclass(method, Distiller)
        assert name == method.NAME
        properties = entries[name]["schema"]["properties"]
        assert all("default" in rule and "description" in rule for rule in properties.values())
        assert method.Params(**{key: rule["default"] for key, rule in properties.items()}) == method.Params()
