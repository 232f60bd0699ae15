"""Text of a figure: names with any characters, numbers, and their width in the figures' font."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

FONT = "DejaVu Sans"
"""matplotlib includes this font, so a figure is the same on every machine."""


def shorten(text: str, limit: int = 36) -> str:
    """Shorten a text for a figure: one line, at most `limit` characters (… replaces the middle).

    A character that the font does not have becomes □; the CSV keeps the original text.
    """
    has = _drawable()
    one = "".join(character if ord(character) in has else "□" for character in " ".join(str(text).split()))
    if len(one) <= limit:
        return one
    head = (limit - 1) * 2 // 3
    return f"{one[:head].rstrip()}…{one[len(one) - (limit - 1 - head) :].lstrip()}"


def shorten_distinct(texts: Sequence[str], limit: int = 36) -> list[str]:
    """Shorten each text; where two different texts would become equal, none of them is cut."""
    short = [shorten(text, limit) for text in texts]
    return [
        shorten(text, 10_000) if any(b == mine and a != text for a, b in zip(texts, short, strict=True)) else mine
        for text, mine in zip(texts, short, strict=True)
    ]


def format_number(value: float, digits: int, sign: bool = False) -> str:
    """Return a number as text: fixed digits, a true minus, no minus zero, – where it is not finite."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = f"{0:.{digits}f}"
    return text.replace("-", "−")


def axis_label(label: str, unit: str) -> str:
    """Return the label of an axis: `AP (%)`, `p50 (ms)`, `images`."""
    return f"{label} ({unit})" if unit else label


def text_width_in(text: str, points: float, weight: str = "normal") -> float:
    """Return the width of one line of text in the figures' font, inches.

    Args:
        points: font size.
        weight: normal or bold.
    """
    return _width_at_one_point(text, weight) * points / 72


@functools.lru_cache(maxsize=20_000)
def _width_at_one_point(text: str, weight: str) -> float:
    """Width of a text of size 1, points; a report has the same words in every figure."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    prop = FontProperties(family=[FONT], size=1.0, weight=weight)
    return float(TextToPath().get_text_width_height_descent(text, prop, ismath=False)[0])


def wrap_text(text: str, width: float, points: float, weight: str = "normal") -> list[str]:
    """Wrap a text into lines; a word that is longer than a line is cut.

    Args:
        width: of a line, inches.
        points: font size.
        weight: normal or bold.
    """
    lines: list[str] = []
    current = ""
    for word in shorten(text, 10_000).split():
        while text_width_in(word, points, weight) > width and len(word) > 1:
            cut = max(1, int(len(word) * width / text_width_in(word, points, weight)) - 1)
            if current:
                lines.append(current)
                current = ""
            lines.append(word[:cut])
            word = word[cut:]
        longer = f"{current} {word}" if current else word
        if current and text_width_in(longer, points, weight) > width:
            lines.append(current)
            longer = word
        current = longer
    return [*lines, current] if current else lines


@functools.cache
def _drawable() -> dict[int, Any]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties(family=[FONT]))).get_charmap()
