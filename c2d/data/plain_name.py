"""Compare class names without their case and blanks."""

from __future__ import annotations

import unicodedata


def plain_name(name: str) -> str:
    """Return a class name without case and blanks; names with equal results differ in nothing else.

    >>> plain_name(" Fire ANT") == plain_name("fireant")
    True
    """
    return "".join(unicodedata.normalize("NFKC", name).split()).casefold()
