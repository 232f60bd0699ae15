"""Write tables, figures and page of docs/study from the archive of the study's runs.

In: docs/study/runs.tar.xz, the specs. Out: report.html, tables (for `c2d explain` as CSV and JSON too), figures/*.svg, and in
README.md the tables between `<!-- table NAME -->` and `<!-- end -->`, without their ledgers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import analysis
from c2d.core.yaml.yaml_lines import parse_mapping

STUDY = Path("docs") / "study"
ARCHIVE, PAGE = STUDY / "runs.tar.xz", STUDY / "README.md"
BLOCK = re.compile(r"(<!-- table (?P<name>[\w-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def specs(root: Path) -> list[str]:
    """Return the YAML files of the folder, without tables and figures of sweeps that the archive does not have yet."""
    begun = set(analysis.load(root / ARCHIVE)["sweep"])
    files = sorted((root / STUDY).glob("*.yaml"))
    given = {path: parse_mapping(path.read_text("utf-8"), path.name, "") for path in files}
    return [str(path) for path, spec in given.items() if spec["kind"] == "claims" or spec["sweep"] in begun]


def make_report(root: Path, out: Path, chosen: Sequence[str]) -> None:
    """Run `c2d report` on the archive.

    Args:
        root: of the repository.
        out: new folder.
        chosen: names and files of reports.
    """
    words = ["report", "--runs", str(ARCHIVE), "--out", str(out), *chosen]
    subprocess.run([sys.executable, "-W", "ignore", "-m", "c2d", *words], cwd=root, check=True)


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
    """Make the report of the archive, and write what the folder shows of it.

    Args:
        root: of the repository.
    """
    with TemporaryDirectory(prefix="c2d-study-") as made:
        out = Path(made) / "report"
        make_report(root, out, specs(root))
        for folder, endings in {"tables": ("md", "tex", "csv", "json"), "figures": ("svg",)}.items():
            shutil.rmtree(root / STUDY / folder, ignore_errors=True)
            (root / STUDY / folder).mkdir()
            for ending in endings:
                for path in sorted((out / folder).glob(f"*.{ending}")):
                    shutil.copyfile(path, root / STUDY / folder / path.name)
        shutil.copyfile(out / "report.html", root / STUDY / "report.html")
        page = root / PAGE
        page.write_text(filled_page(page.read_text("utf-8"), out / "tables"), encoding="utf-8")
