"""provenance.json of an export: where the model comes from, its numbers, and the sha256 of every other file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from c2d import __version__
from c2d.core.json_values import FORMAT
from c2d.export.exported_facts import RunFacts
from c2d.export.graph_parity import Parity
from c2d.metrics.coco import NUMBERS

PROVENANCE = "provenance.json"
KEPT = (
    "kind",
    "evaluation_split",
    *NUMBERS,
    "AP_per_iou",
    "per_class",
    "protocols",
    "images",
    "boxes",
    "params",
    "sha256",
)
"""Keys of result.json that are repeated; timings and paths are not."""


def provenance(facts: RunFacts, parities: Sequence[Parity], folder: Path) -> dict[str, Any]:
    """Return the content of provenance.json.

    Args:
        facts: of the run.
        parities: of the graphs.
        folder: with all other files.
    """
    tide = facts.result.get("tide") or {}
    return {
        "format": FORMAT,
        "run": facts.run,
        "exported_by": f"c2d {__version__}",
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "license": facts.licence,
        "spec": facts.spec,
        "result": {key: facts.result[key] for key in KEPT if key in facts.result}
        | {"tide": {key: tide[key] for key in ("AP", "dAP", "counts") if key in tide}},
        "teachers": facts.result.get("teachers"),
        "training_code": facts.code,
        "parity": [parity.to_json() for parity in parities],
        "files": {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.name != PROVENANCE},
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
