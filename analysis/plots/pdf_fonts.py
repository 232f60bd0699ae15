"""Fonts in PDF files: matplotlib embeds the glyphs of a figure; here it takes them from a smaller font, read once.

matplotlib reads a whole font again for every PDF. The usual characters of each font are cut out once a process, and
the glyphs of a figure from those: the same bytes, in a tenth of the time. A figure with other characters is written in
matplotlib's own way, and so is every figure where matplotlib has other functions than the ones that are used here.
"""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

USUAL = (
    (0x20, 0x7E),  # ASCII
    (0xA0, 0xFF),  # Latin-1
    (0x391, 0x3C9),  # Greek
    (0x2010, 0x2026),  # dashes, quotes, …
    (0x2190, 0x2193),  # arrows
    (0x2212, 0x2212),  # minus
    (0x2248, 0x2265),  # ≈ ≤ ≥
    (0x25A1, 0x25A1),  # □, for a character that the font does not have
)
"""First and last code point of the usual characters; with more of them each figure takes longer."""
UNREAD_TABLES = ("GSUB", "GPOS", "GDEF", "MATH")
"""Kerning, ligatures and formulas: matplotlib has applied them, and no reader of a PDF looks for them in a font."""


class _Font(io.BytesIO):
    """A font file in memory, as matplotlib's function takes it."""

    face_index = 0


class _UsualFont(NamedTuple):
    content: bytes
    glyph_of: dict[int, int]
    """Number of a glyph in the whole font: its number here."""


@contextmanager
def small_fonts() -> Iterator[None]:
    """Write PDF files inside it: their fonts are cut from smaller ones, without tables that no PDF needs."""
    from fontTools.subset import Options
    from matplotlib.backends import _backend_pdf_ps as fonts

    # Where fontTools has another name for its default, the fonts are larger and nothing else changes.
    tables = getattr(Options, "_drop_tables_default", [])
    own = getattr(fonts, "get_glyphs_subset", None)
    Options._drop_tables_default = [*tables, *UNREAD_TABLES]
    if own is not None and _has_known_shape(fonts, own):
        fonts.get_glyphs_subset = functools.partial(_subset, own, fonts)
    try:
        yield
    finally:
        Options._drop_tables_default = tables
        if own is not None:
            fonts.get_glyphs_subset = own


def _has_known_shape(fonts: Any, own: Callable[..., Any]) -> bool:
    results = getattr(getattr(fonts, "SubsetResults", None), "_fields", ())
    known = list(inspect.signature(own).parameters) == ["fontfile", "glyphs"] and hasattr(fonts, "font_as_file")
    return known and tuple(results) == ("font", "glyph_index_map")


def _subset(own: Callable[..., Any], fonts: Any, fontfile: Any, glyphs: Iterable[int]) -> Any:
    """What `own(fontfile, glyphs)` returns: a context of the subset and {number of a glyph: its number there}."""
    wanted = set(glyphs)
    usual = _usual_font(own, fonts, fontfile)
    if not wanted <= usual.glyph_of.keys():
        return own(fontfile, wanted)
    return _from_usual(own, fonts, usual, wanted)


@contextmanager
def _from_usual(own: Callable[..., Any], fonts: Any, usual: _UsualFont, wanted: set[int]) -> Iterator[Any]:
    with own(_Font(usual.content), {usual.glyph_of[glyph] for glyph in wanted}) as found:
        numbers = {glyph: found.glyph_index_map.get(here) for glyph, here in usual.glyph_of.items()}
        there = {glyph: number for glyph, number in numbers.items() if number is not None}
        yield fonts.SubsetResults(found.font, there)


@functools.lru_cache(maxsize=16)
def _usual_font(own: Callable[..., Any], fonts: Any, fontfile: Any) -> _UsualFont:
    from matplotlib.font_manager import get_font

    glyph_of = get_font(fontfile).get_charmap()
    usual = {glyph for code, glyph in glyph_of.items() if any(first <= code <= last for first, last in USUAL)}
    with own(fontfile, usual) as found:
        return _UsualFont(fonts.font_as_file(found.font).getvalue(), dict(found.glyph_index_map))
