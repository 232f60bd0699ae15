"""The table of docs/sweeps.md: every definition of a paper, its cells, runs and reports, and what they share.

    python -m tests.sweeps.definition.definition_table

writes it between the two marks of the page; `test_defs.py` compares them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from c2d.core.yaml.yaml_lines import parse_mapping
from sweeps.actions.submit import resolve
from sweeps.actions.workspace import Workspace
from sweeps.definition.definition import definition_names, read_definition
from sweeps.definition.expand import Grid
from sweeps.definition.profile import load_profile

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "sweeps.md"
BEGIN, END = "<!-- definitions of papers: made by tests/sweeps/definition/definition_table.py -->", "<!-- end -->"
NOWHERE = Path("no") / "such" / "folder"


def definitions_of_papers() -> list[str]:
    """Names of the definitions whose rows a paper has: ICOD's first, then one for the main results of each rival."""
    return sorted(
        (name for name in definition_names() if name.startswith("icod-") or name.endswith("-main") or name == "rivals"),
        key=lambda name: (not name.startswith("icod-"), name == "rivals", subject(name).casefold()),
    )


def subject(name: str) -> str:
    """What a definition reproduces: its first comment up to the colon."""
    lines = read_definition(name).text.splitlines()
    count = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.removeprefix("#").strip() for line in lines[:count]).partition(": ")[0]


@cache
def planned_without_data(name: str) -> Grid:
    """Expand a definition as a login node without any data set does: by the shipped cards."""
    return resolve(read_definition(name), Workspace(NOWHERE, NOWHERE, "dry", load_profile("default")))


def reports_of(name: str) -> list[str]:
    """Names of the shipped reports of a definition."""
    return [report for report, sweep in sorted(sweeps_of_reports().items()) if sweep == name]


@cache
def sweeps_of_reports() -> dict[str, str]:
    """Return {name of a shipped report: its sweep}."""
    files = (ROOT / "analysis" / "reports").glob("*.yaml")
    return {file.stem: str(parse_mapping(file.read_text("utf-8"), file.name, "").get("sweep")) for file in files}


def table() -> Iterator[str]:
    """Yield the lines of the table and of the counts below it."""
    yield "| definition | what it reproduces | cells | runs | teachers | reports |"
    yield "|---|---|---:|---:|---:|---|"
    grids = {name: planned_without_data(name) for name in definitions_of_papers()}
    for name, grid in grids.items():
        runs = {cell.run for cell in grid.cells}
        reports = ", ".join(f"`{report}`" for report in reports_of(name))
        yield f"| `{name}` | {subject(name)} | {len(grid.cells)} | {len(runs)} | {len(grid.teachers)} | {reports} |"
    runs = {cell.run for grid in grids.values() for cell in grid.cells}
    listed = sum(len({cell.run for cell in grid.cells}) for grid in grids.values())
    teachers = {spec.id: spec.kind for grid in grids.values() for spec in grid.teachers}
    kinds = {kind: list(teachers.values()).count(kind) for kind in dict.fromkeys(teachers.values())}
    of_icod = {cell.run for name, grid in grids.items() if name.startswith("icod-") for cell in grid.cells}
    yield ""
    different = f"{len(runs)} different ones, {len(of_icod)} of them ICOD's"
    yield f"The {listed} runs of this table are {different}: equal cells are one run in every sweep."
    of_kinds = " and ".join(f"{count} {kind}s" for kind, count in kinds.items())
    yield f"{len(teachers)} teachers are trained first, {of_kinds}."


def page_with(lines: Iterator[str], page: str) -> str:
    """Return the page with new lines between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with(table(), PAGE.read_text("utf-8")), "utf-8")
