"""Write tables, figures and page of docs/study from the archive of the study's runs.

In: docs/study/runs.tar.xz, the specs. Out: report.html, runs.csv, tables and figures, and in README.md the tables
between `<!-- table NAME -->` and `<!-- end -->`, without their ledgers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import analysis
from c2d.core.yaml.yaml_lines import parse_mapping

STUDY = Path("docs") / "study"
ARCHIVE, PAGE, SPECS = STUDY / "runs.tar.xz", STUDY / "README.md", STUDY / "specs"
NOT_KEPT = ("tables/*.html", "figures/*.pdf")
BLOCK = re.compile(r"(<!-- table (?P<name>[\w-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def specs(root: Path) -> list[str]:
    """Return the YAML files of the specs, without tables and figures of sweeps that the archive does not have yet."""
    begun = {name for names in set(analysis.load(root / ARCHIVE)["sweep"]) for name in names.split(", ")}
    files = sorted((root / SPECS).glob("*.yaml"))
    given = {path: parse_mapping(path.read_text("utf-8"), path.name, "") for path in files}
    chosen = [path for path, spec in given.items() if spec["kind"] == "claims" or spec["sweep"] in begun]
    return [str(path.relative_to(root)) for path in chosen]


def shown_table(markdown: str) -> str:
    """Return a table with its footnotes, without title and ledger."""
    body, _, _ = markdown.partition("\n- **")
    return body.partition("\n")[2].strip("\n") + "\n"


def filled_page(page: str, tables: Path) -> str:
    """Return the page with the tables of a report in its blocks.

    Args:
        page: Markdown with blocks.
        tables: folder with NAME.md.
    """

    def block(found: re.Match[str]) -> str:
        table = (tables / f"{found['name']}.md").read_text(encoding="utf-8")
        return f"{found[1]}\n{shown_table(table)}\n"

    return BLOCK.sub(block, page)


def write_study(root: Path) -> None:
    """Make the report of the archive in the folder, where `c2d explain` finds its tables, and fill the page.

    Args:
        root: of the repository.
    """
    for folder in ("tables", "figures"):
        shutil.rmtree(root / STUDY / folder, ignore_errors=True)
    words = ["report", "--runs", str(ARCHIVE), "--out", str(STUDY), *specs(root)]
    subprocess.run([sys.executable, "-W", "ignore", "-m", "c2d", *words], cwd=root, check=True)
    for pattern in NOT_KEPT:
        for path in (root / STUDY).glob(pattern):
            path.unlink()
    page = root / PAGE
    page.write_text(filled_page(page.read_text("utf-8"), root / STUDY / "tables"), encoding="utf-8")
