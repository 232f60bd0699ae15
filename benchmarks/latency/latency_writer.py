"""One latency file in format 1, as `analysis.load.latency_file` reads it: raw samples and the conditions, nothing derived.

The name is `<device>-<digest>.json`, the digest being that of the conditions, so that measuring again replaces. A
disturbed measurement has a name of its own: it never replaces one that can be trusted.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from benchmarks.latency.measure import Row
from c2d import __version__
from c2d.core.run_folder import atomic_write_json

COUNTS = ("flops", "macs", "params")


def write(folder: Path, row: Row) -> Path:
    """Write a row that has samples into `folder`; the path."""
    path = folder / name(row.facts["device"], row.conditions, row.disturbed is not None)
    atomic_write_json(path, content(row))
    return path


def name(device: str, conditions: dict[str, Any], disturbed: bool) -> str:
    """`<device>-<digest>.json`: letters, figures and single dashes of the device's name, 12 hex digits."""
    told = json.dumps([device, conditions, *(["disturbed"] if disturbed else [])], sort_keys=True)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-").lower() or "device"
    return f"{slug}-{hashlib.sha256(told.encode()).hexdigest()[:12]}.json"


def content(row: Row) -> dict[str, Any]:
    """The value of the file. Beyond what the reader needs: warm-up samples, what was seen of the machine, notes."""
    examined, counts = row.examined, row.examined.get("counts") or {}
    same = examined.get("sha256") == row.facts["sha256"]  # an AP is of the bytes that were evaluated
    return {
        "format": 1,
        "device": row.facts["device"],
        "conditions": row.conditions,
        "launches": [
            {"samples_ms": [round(one, 6) for one in launch["samples_ms"]],
             "warm_up_ms": [round(one, 6) for one in launch["warm_up_ms"]],
             "missed_intervals": launch["missed_intervals"],
             "peak_mib": launch["peak_mib"],
             "seen": launch["seen"],
             "disturbed": launch["disturbed"]}
            for launch in row.launches
        ],
        "disturbed": row.disturbed,
        "artefact": {"sha256": row.artefact, "AP": examined.get("AP") if same else None},
        **{key: counts.get(key) for key in COUNTS},
        "uncounted": counts.get("uncounted"),
        "memory": {"inference_mib": row.inference_mib,
                   "training_mib": row.training_mib if isinstance(row.training_mib, float) else None},
        "parity": {key: examined.get(key) for key in ("equal", "tolerance")} | {"max_deviation": _finite(examined)},
        "notes": [*row.notes, *([row.reason] if row.reason else [])],
        "env": environment(row.facts["machine"]),
    }  # fmt: skip


def _finite(examined: dict[str, Any]) -> float | None:
    """The deviation; an infinite one (another form) is no number of JSON, and `equal` says that it is none."""
    found = examined.get("max_deviation")
    return found if found is not None and math.isfinite(found) else None


def environment(machine: dict[str, Any]) -> dict[str, Any]:
    """Versions and machine, with the keys of an attempt in env.json."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "c2d": __version__,
        "python": platform.python_version(),
        "packages": dict(sorted({item.metadata["Name"]: item.version for item in distributions()}.items())),
        "machine": {"system": platform.platform(), **machine},
        "command": sys.argv,
    }
