"""Write one latency file in format 1, as `analysis.loading.latency_file` reads it: raw samples and their conditions.

The name is `<device>-<digest of the conditions>.json`, so a new measurement replaces the old one. A disturbed
measurement has a name of its own: it never replaces a reliable one.
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

from benchmarks.latency.latency_row import LatencyRow
from c2d import __version__
from c2d.core.masking import mask_command
from c2d.core.run_folder import atomic_write_json

COUNTS = ("flops", "macs", "params")


def write_latency_file(folder: Path, row: LatencyRow) -> Path:
    """Write a row that has samples into `folder` and return the path."""
    path = folder / file_name(row.facts["device"], row.conditions, row.disturbed is not None)
    atomic_write_json(path, file_content(row))
    return path


def file_name(device: str, conditions: dict[str, Any], disturbed: bool) -> str:
    """Return `<device>-<digest>.json`: letters, digits and single dashes of the device's name, 12 hex digits."""
    text = json.dumps([device, conditions, *(["disturbed"] if disturbed else [])], sort_keys=True)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-").lower() or "device"
    return f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"


def file_content(row: LatencyRow) -> dict[str, Any]:
    """Return the value of the file. Beyond what the reader needs: warm-up samples, state of the machine, notes."""
    checks, counts = row.checks, row.checks.get("counts") or {}
    same = checks.get("sha256") == row.facts["sha256"]  # an AP is of the bytes that were evaluated
    return {
        "format": 1,
        "device": row.facts["device"],
        "conditions": row.conditions,
        "launches": [
            # Six decimals of a millisecond are nanoseconds, the resolution of the clock.
            {"samples_ms": [round(sample, 6) for sample in launch["samples_ms"]],
             "warm_up_ms": [round(sample, 6) for sample in launch["warm_up_ms"]],
             "missed_intervals": launch["missed_intervals"],
             "peak_mib": launch["peak_mib"],
             "seen": launch["seen"],
             "disturbed": launch["disturbed"]}
            for launch in row.launches
        ],
        "disturbed": row.disturbed,
        "artefact": {"sha256": row.artefact, "AP": checks.get("AP") if same else None},
        **{key: counts.get(key) for key in COUNTS},
        "uncounted": counts.get("uncounted"),
        "memory": {"inference_mib": row.inference_mib,
                   "training_mib": row.training_mib if isinstance(row.training_mib, float) else None},
        "parity": {"equal": checks.get("equal"), "tolerance": checks.get("tolerance"),
                   "max_deviation": _finite_deviation(checks)},
        "notes": [*row.notes, *([row.reason] if row.reason else [])],
        "env": environment(row.facts["machine"]),
    }  # fmt: skip


def _finite_deviation(checks: dict[str, Any]) -> float | None:
    """Return the deviation. An infinite one (outputs of another form) is no number of JSON; `equal` is false then."""
    deviation = checks.get("max_deviation")
    return deviation if deviation is not None and math.isfinite(deviation) else None


def environment(machine: dict[str, Any]) -> dict[str, Any]:
    """Return versions and machine, with the keys of an attempt in env.json."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "c2d": __version__,
        "python": platform.python_version(),
        "packages": dict(sorted({item.metadata["Name"]: item.version for item in distributions()}.items())),
        "machine": {"system": platform.platform(), **machine},
        "command": mask_command(sys.argv),
    }
