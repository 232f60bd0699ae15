"""Write the golden files again: python -m tests.analysis.formats.golden. Look at the difference before you keep it."""

from __future__ import annotations

from pathlib import Path

from analysis.formats import FORMATS
from tests.analysis.formats.tables import paper

GOLDEN = Path(__file__).parent / "golden"

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for extension, write in FORMATS.items():
        (GOLDEN / f"paper.{extension}").write_text(write(paper()), newline="")
