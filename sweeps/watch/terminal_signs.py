"""Characters and colours of the table on a terminal, with or without Unicode."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from sweeps.watch.sparkline import ASCII, BLOCKS

STYLES = {
    "running": "bold", "finishing": "bold", "unknown": "magenta", "done": "green", "failed": "bold red",
    "damaged": "bold red", "blocked": "yellow", "waiting": "cyan", "new": "dim",
}  # fmt: skip


@dataclass(frozen=True)
class Signs:
    """Characters that a terminal can show.

    Attributes:
        marks: of a row, by state.
        bar: of a run: done, open.
        shares: of a sweep: done, failed, running, the rest.
        levels: of a sparkline.
        cut: end of a text that was cut.
    """

    marks: dict[str, str]
    bar: tuple[str, str]
    shares: tuple[str, str, str, str]
    levels: str
    cut: str


UNICODE = Signs(
    {"running": "▶", "finishing": "▶", "unknown": "?", "done": "✓", "failed": "✗", "damaged": "✗"},
    ("━", "─"), ("█", "×", "▒", "░"), BLOCKS, "…",
)  # fmt: skip
PLAIN = Signs(
    {"running": ">", "finishing": ">", "unknown": "?", "done": "+", "failed": "x", "damaged": "x"},
    ("#", "-"), ("#", "x", ">", "."), ASCII, "~",
)  # fmt: skip


def padded_text(text: str, size: int, is_right: bool) -> str:
    """Return a text with blanks up to a size in characters of the terminal."""
    blanks = " " * max(0, size - cell_len(text))
    return blanks + text if is_right else text + blanks


def cut_text(text: str, size: int, signs: Signs) -> str:
    """Return a text that is at most so long; a cut one ends with a sign for that."""
    return text if cell_len(text) <= size else set_cell_size(text, max(0, size - 1)) + signs.cut


def cut_line(line: Text, width: int, signs: Signs) -> Text:
    """Return a line that is at most so long, and never wrapped."""
    if line.cell_len > width:
        line.truncate(max(0, width - 1))
        line.append(signs.cut)
    line.no_wrap = True
    return line
