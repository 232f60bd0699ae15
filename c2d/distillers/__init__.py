"""The methods: one visible line each. `catalog.json` beside this file is the same list for rooms without torch.

`python -m c2d.distillers` writes the catalogue; a test asserts that it equals the code.
"""

from __future__ import annotations

import inspect
from typing import Any

from c2d.distillers.base import Distiller, Params
from c2d.distillers.fitnets import FitNets
from c2d.distillers.icod import ICOD

DISTILLERS: dict[str, type[Distiller]] = {
    "icod": ICOD,
    "fitnets": FitNets,
}


def _schema(method: type[Distiller]) -> dict[str, Any]:
    """The JSON schema of a method's parameters, its own before those that all methods have."""
    schema = method.Params.model_json_schema()
    common = list(Params.model_fields)
    properties = schema["properties"]
    schema["properties"] = {key: properties[key] for key in [*(k for k in properties if k not in common), *common]}
    return schema


def catalog() -> dict[str, Any]:
    """What catalog.json holds: per method its title, version, teachers, and the JSON schema of its parameters."""
    entries = {}
    for name, method in DISTILLERS.items():
        entries[name] = {
            "title": (inspect.getdoc(inspect.getmodule(method)) or "").splitlines()[0],
            "version": method.VERSION,
            "teachers": list(method.TEACHERS),
            "needs_positives": method.NEEDS_POSITIVES,
            "detectors": list(method.DETECTORS),
            "cost": method.COST,
            "source": method.SOURCE,
            "weights": method.WEIGHTS,
            "by_detector": method.Params.BY_DETECTOR,
            "added": list(method.ADDED),
            "schema": _schema(method),
        }
    return entries
