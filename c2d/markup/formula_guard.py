"""Text fields of CSV files that a spreadsheet would run as a formula: they get an apostrophe in front.

A spreadsheet runs text that begins with = + - or @, and cuts a tab or a line break at the beginning off first.
Names come from people and from files. An apostrophe is how a spreadsheet marks text (OWASP, "CSV Injection"). Numbers
get none, also where a text is one: -1.5 does nothing in a spreadsheet, and pandas reads it as a number.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]inf")


def guard(text: str) -> str:
    """Put an apostrophe in front of text that a spreadsheet would run; also where it has one, so that none is lost."""
    return "'" + text if _is_formula(text) else text


def unguard(text: str) -> str:
    """Return the text that `guard` was given."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def guarded_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose texts and column names are guarded; numbers, truth values and missing values stay."""
    texts = {
        name: [guard(value) if isinstance(value, str) else value for value in column]
        for name, column in frame.items()
        if column.dtype.kind not in "iufbM"
    }
    named = frame.assign(**{str(name): values for name, values in texts.items()})
    return named.rename(columns=lambda name: guard(str(name)))


def _is_formula(text: str) -> bool:
    bare = text.lstrip("'")
    return bare.startswith(_FORMULA) and not _NUMBER.fullmatch(bare)
