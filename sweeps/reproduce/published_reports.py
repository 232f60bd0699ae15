"""Which reports lay their rows beside published ones, and which sweeps they need: read from analysis/reports."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from c2d.core.errors import unknown_name
from c2d.core.yaml.yaml_lines import parse_mapping
from sweeps.definition.definition import definition_names


@dataclass(frozen=True)
class PublishedReport:
    """A shipped report whose table has published rows.

    Attributes:
        name: of the report.
        sweep: whose runs it shows.
        companions: names of all shipped reports of that table, itself first: `icod-table1`, `icod-table1-cost`, ...
    """

    name: str
    sweep: str
    companions: tuple[str, ...]


def published_report(name: str) -> PublishedReport:
    """Return a report by its name.

    Raises:
        InputError: no report of that name has published rows.
    """
    if name not in published_reports():
        raise unknown_name("published table", name, published_reports(), "see docs/reproduce.md")
    return published_reports()[name]


@cache
def published_reports() -> dict[str, PublishedReport]:
    """Return {name: report}; of reports that belong together the one with the shortest name."""
    specs = _specs()
    found: dict[str, PublishedReport] = {}
    for name in sorted(specs, key=len):
        spec = specs[name]
        if "published" not in spec or spec.get("sweep") not in definition_names():
            continue
        if any(name in report.companions for report in found.values()):
            continue
        same = [other for other in sorted(specs) if other.startswith(f"{name}-")]
        same = [other for other in same if specs[other].get("sweep") == spec["sweep"]]
        found[name] = PublishedReport(name, spec["sweep"], (name, *same))
    return dict(sorted(found.items()))


def published_sweeps() -> list[str]:
    """Return the names of the sweeps behind all published reports, sorted."""
    return sorted({report.sweep for report in published_reports().values()})


def _specs() -> dict[str, dict[str, Any]]:
    folder = resources.files("analysis") / "reports"
    files = [item for item in folder.iterdir() if item.name.endswith(".yaml")]
    return {item.name.removesuffix(".yaml"): parse_mapping(item.read_text("utf-8"), item.name, "") for item in files}
