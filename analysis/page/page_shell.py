"""What every page of one file shares: its own style and scripts as text, plain text.

The files are beside this one: base.css (palette and elements), theme.js (in the head, before anything is painted) and
theme_button.js (after the button with the id `theme`).
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
_NO_TEXT = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Control characters, surrogates and non-characters: HTML cannot hold them, a log line may."""


def page_asset(name: str, folder: Path = HERE) -> str:
    """Return the text of a style or script that belongs to a page."""
    return (folder / name).read_text(encoding="utf-8").strip()


def page_text(page: str) -> str:
    """Return a page with line feeds alone, and without characters that HTML cannot hold."""
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", page.replace("\r\n", "\n").replace("\r", "\n"))
