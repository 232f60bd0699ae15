"""`python -m c2d.distillers`: write catalog.json from the code."""

from __future__ import annotations

import json
from pathlib import Path

from c2d.distillers import catalog

TARGET = Path(__file__).with_name("catalog.json")


def text() -> str:
    """The catalogue as it stands in the file."""
    return json.dumps(catalog(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
