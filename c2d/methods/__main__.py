"""`python -m c2d.methods`: write catalog.json, and in a checkout docs/methods, from the code."""

from __future__ import annotations

import json
from pathlib import Path

from c2d.methods import catalog
from c2d.specs import method_docs

TARGET = Path(__file__).with_name("catalog.json")
PAGES = Path(__file__).parents[2] / "docs" / "methods"
WRITTEN_BY_HAND = ("moi.md",)
"""Pages of docs/methods about what is no method of the catalog."""


def text() -> str:
    """Return the catalog as it is written to the file."""
    return json.dumps(catalog(), indent=2) + "\n"


def pages() -> dict[str, str]:
    """File name -> text of every page of docs/methods."""
    entries = catalog()
    return {"README.md": method_docs.contents(entries)} | {
        f"{name}.md": method_docs.page(name, entry) for name, entry in entries.items()
    }


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    if PAGES.parent.is_dir():
        PAGES.mkdir(exist_ok=True)
        for old in PAGES.glob("*.md"):
            if old.name not in WRITTEN_BY_HAND:
                old.unlink()
        for name, page in pages().items():
            (PAGES / name).write_text(page, encoding="utf-8")
