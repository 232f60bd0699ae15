"""The methods: one visible line each. `catalog.json` beside this file is the same list, read without torch.

`python -m c2d.methods` writes the catalogue; a test asserts that it equals the code.
"""

from __future__ import annotations

import inspect
from typing import Any

from c2d.methods.at import AT
from c2d.methods.base import Distiller, Params
from c2d.methods.bckd import BCKD
from c2d.methods.chen import Chen
from c2d.methods.crosskd import CrossKD
from c2d.methods.cwd import CWD
from c2d.methods.defeat import DeFeat
from c2d.methods.detrdistill import DETRDistill
from c2d.methods.dkd import DKD
from c2d.methods.fgd import FGD
from c2d.methods.fgfi import FGFI
from c2d.methods.fitnets import FitNets
from c2d.methods.fkd import FKD
from c2d.methods.frs import FRS
from c2d.methods.gid import GID
from c2d.methods.gkd import GKD
from c2d.methods.icod import ICOD
from c2d.methods.ld import LD
from c2d.methods.maskd import MasKD
from c2d.methods.mgd import MGD
from c2d.methods.pgd import PGD
from c2d.methods.pkd import PKD
from c2d.methods.soft_labels import SoftLabels
from c2d.methods.tadf import TADF

DISTILLERS: dict[str, type[Distiller]] = {
    "icod": ICOD,
    "fitnets": FitNets,
    "at": AT,
    "chen": Chen,
    "fgfi": FGFI,
    "defeat": DeFeat,
    "gid": GID,
    "fkd": FKD,
    "frs": FRS,
    "tadf": TADF,
    "gkd": GKD,
    "cwd": CWD,
    "pkd": PKD,
    "fgd": FGD,
    "mgd": MGD,
    "ld": LD,
    "pgd": PGD,
    "maskd": MasKD,
    "detrdistill": DETRDistill,
    "dkd": DKD,
    "bckd": BCKD,
    "crosskd": CrossKD,
    "soft_labels": SoftLabels,
}


def _schema(method: type[Distiller]) -> dict[str, Any]:
    """The JSON schema of a method's parameters, its own before those that all methods have."""
    schema = method.Params.model_json_schema()
    common = list(Params.model_fields)
    properties = schema["properties"]
    schema["properties"] = {key: properties[key] for key in [*(k for k in properties if k not in common), *common]}
    return schema


def catalog() -> dict[str, Any]:
    """Return the content of catalog.json: the texts of each method, and the JSON schema of its parameters."""
    entries = {}
    for name, method in DISTILLERS.items():
        about = inspect.getdoc(inspect.getmodule(method)) or ""
        entries[name] = {
            "title": about.splitlines()[0],
            "about": about,
            "version": method.VERSION,
            "teachers": list(method.TEACHERS),
            "soft_labels": method.SOFT_LABELS,
            "taught": list(method.TAUGHT),
            "detectors": list(method.DETECTORS),
            "cost": method.COST,
            "source": method.SOURCE,
            "weights": method.WEIGHTS,
            "gated": list(method.GATED),
            "by_detector": method.Params.BY_DETECTOR,
            "added": list(method.ADDED),
            "schema": _schema(method),
        }
    return entries
