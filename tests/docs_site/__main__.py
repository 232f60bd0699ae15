"""`python -m tests.docs_site commands|outputs|study [PAGE...]`: write what the site shows of the commands.

commands                 docs/reference/commands.md, from every `--help`
outputs [PAGE...]        run the commands of pages, and write what they print (minutes; by default all such pages)
outputs --folder DIR     keep what they make
study                    docs/study: tables, figures and page, from the archive of its runs
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.docs_site.page_outputs import ROOT, run_pages
from tests.docs_site.study_page import write_study

TUTORIALS = tuple(ROOT / f"docs/tutorials/{name}.md" for name in ("train", "grid", "report"))
"""Pages whose commands run one after the other in one folder."""


def main() -> None:
    """Parse the command line, and write pages."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs_site", description=__doc__)
    parser.add_argument("what", choices=("commands", "outputs", "study"))
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--new", action="store_true")
    chosen = parser.parse_intermixed_args()
    if chosen.what == "outputs":
        run_pages([page.resolve() for page in chosen.pages] or TUTORIALS, chosen.folder, chosen.new)
        return
    if chosen.what == "study":
        write_study(ROOT)
        return
    from tests.docs_site.command_pages import PAGE, commands_page

    PAGE.write_text(commands_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
