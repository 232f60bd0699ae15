"""The methods: one visible line each. `catalog.json` beside this file is the same list for rooms without torch.

`python -m c2d.distillers` writes the catalogue; a test asserts that it equals the code.
"""

from __future__ import annotations

import inspect
from typing import Any

from c2d.distillers.base import Distiller
from c2d.distillers.icod import ICOD

DISTILLERS: dict[str, type[Distiller]] = {
    "icod": ICOD,
}


def catalog() -> dict[str, Any]:
    """What catalog.json holds: per method its title, version, teachers, and the JSON schema of its parameters."""
    entries = {}
    for name, method in DISTILLERS.items():
        entries[name] = {
            "title": (inspect.getdoc(inspect.getmodule(method)) or "").splitlines()[0],
            "version": method.VERSION,
            "teachers": list(method.TEACHERS),
            "needs_positives": method.NEEDS_POSITIVES,
            "schema": method.Params.model_json_schema(),
        }
    return entries
