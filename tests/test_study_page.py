"""The study's page: its tables are those of the report, and the archive behind it is small and readable."""

from __future__ import annotations

from pathlib import Path

import analysis
from tests.docs_site.study_page import ARCHIVE, BLOCK, PAGE, STUDY, filled_page, shown_table

ROOT = Path(__file__).parents[1]
TABLE = "### Title\n\nMean over seeds.\n\n| a | AP |\n| :--- | ---: |\n| x | 1.0<sup>a</sup> |\n\n- <sup>a</sup> one.\n"
LEDGER = "\n- **Statistics:** many words.\n- **Same for all rows:** more.\n"


def test_a_table_is_shown_without_title_and_ledger() -> None:
    assert shown_table(TABLE + LEDGER) == TABLE.removeprefix("### Title\n\n")


def test_blocks_are_filled_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "t-1.md").write_text(TABLE + LEDGER, encoding="utf-8")
    page = "before\n<!-- table t-1 -->\nold\n<!-- end -->\nafter\n"
    filled = filled_page(page, tmp_path)
    assert filled == f"before\n<!-- table t-1 -->\n\n{shown_table(TABLE)}\n<!-- end -->\nafter\n"
    assert filled_page(filled, tmp_path) == filled


def test_the_page_has_the_tables_of_its_folder() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert len(BLOCK.findall(page)) == page.count("<!-- table ") > 3
    assert filled_page(page, ROOT / STUDY / "tables") == page, "run: make study-report"


def test_the_archive_is_small_and_has_the_runs_of_the_tables() -> None:
    assert (ROOT / ARCHIVE).stat().st_size < 5e6
    runs = analysis.load(ROOT / ARCHIVE)
    done = runs[runs["state"] == "done"]
    assert {"demo", "study-recipe", "study-schedule"} <= set(done["sweep"])
    assert done["AP"].dropna().between(0, 1).all()
