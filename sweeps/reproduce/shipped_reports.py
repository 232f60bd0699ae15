"""Which shipped reports belong together, and which sweep each needs: read from analysis/reports."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from c2d.core.errors import InputError, unknown_name
from sweeps.definition.definition import definition_names
from sweeps.definition.report_files import shipped_report_specs


@dataclass(frozen=True)
class ShippedReport:
    """A shipped table or figure of a shipped sweep.

    Attributes:
        name: of the report.
        sweep: whose runs it shows.
        companions: names of all shipped reports of that table, itself first: `icod-table1`, `icod-table1-cost`, ...
    """

    name: str
    sweep: str
    companions: tuple[str, ...]


def shipped_report(name: str) -> ShippedReport:
    """Return a report by its name.

    Raises:
        InputError: there is no such report of a shipped sweep.
    """
    if name not in shipped_reports():
        if tables := [report.name for report in shipped_reports().values() if report.sweep == name]:
            raise InputError(f"{name} is a sweep; give one of its tables: {', '.join(tables)}")
        hint = "these can be reproduced (docs/reproduce.md); for a definition of your own: c2d sweep submit"
        raise unknown_name("table", name, shipped_reports(), hint)
    return shipped_reports()[name]


@cache
def shipped_reports() -> dict[str, ShippedReport]:
    """Return {name: report}; of reports that belong together the one with the shortest name."""
    sweep_of = {name: spec.get("sweep") for name, spec in shipped_report_specs().items()}
    found: dict[str, ShippedReport] = {}
    for name in sorted(sweep_of, key=len):
        sweep = sweep_of[name]
        if sweep in definition_names() and not any(name in report.companions for report in found.values()):
            same = [other for other in sorted(sweep_of) if other.startswith(f"{name}-") and sweep_of[other] == sweep]
            found[name] = ShippedReport(name, sweep, (name, *same))
    return dict(sorted(found.items()))


def reported_sweeps() -> list[str]:
    """Return the names of the sweeps behind all of these reports, sorted."""
    return sorted({report.sweep for report in shipped_reports().values()})


def reports_of(sweep: str) -> list[str]:
    """Return the names of all shipped reports of a sweep, sorted."""
    return sorted(name for name, spec in shipped_report_specs().items() if spec.get("sweep") == sweep)
