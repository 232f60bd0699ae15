"""The tables of docs/results/trust.md, between two marks; the text around them is written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.trust.part import read_part

BEGIN, END = "<!-- tables of `make trust` -->", "<!-- end of the tables -->"


def write_tables(page: Path, results: Path, titles: dict[str, str]) -> None:
    """Replace the tables of the page by those of the parts in `results`.

    Args:
        page: docs/results/trust.md; it has both marks.
        results: folder with one JSON file a part.
        titles: {part: heading}, in order.
    """
    found = {name: read_part(results / f"{name}.json") for name in titles}
    parts = {name: value for name, value in found.items() if value}
    tables = [_summary(parts, titles), *(_table(titles[name], value) for name, value in parts.items())]
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n" + "\n".join(tables) + f"\n{END}{after}")


def _summary(parts: dict[str, dict[str, Any]], titles: dict[str, str]) -> str:
    lines = ["| part | rows | passed | minutes | largest process, MiB |", "|---|---|---|---|---|"]
    for name, value in parts.items():
        rows = value["rows"]
        passed, peak = sum(row["passed"] for row in rows), max((row["peak_mib"] for row in rows), default=0)
        note = "" if value["complete"] else " (interrupted)"
        lines.append(f"| {titles[name]}{note} | {len(rows)} | {passed} | {value['seconds'] / 60:.1f} | {peak:.0f} |")
    total = sum(value["seconds"] for value in parts.values()) / 60
    rows = [row for value in parts.values() for row in value["rows"]]
    lines.append(f"| **together** | {len(rows)} | {sum(row['passed'] for row in rows)} | {total:.1f} | |")
    return "\n".join(lines) + "\n"


def _table(title: str, value: dict[str, Any]) -> str:
    lines = [f"### {title}", "", "| what | right is | seen | | s |", "|---|---|---|---|---|"]
    for row in value["rows"]:
        cells = [
            row["name"],
            row["expected"],
            row["seen"],
            "ok" if row["passed"] else "**not**",
            f"{row['seconds']:.1f}",
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
