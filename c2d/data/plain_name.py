"""Compare class names without their case and blanks."""

from __future__ import annotations

import unicodedata


def plain_name(name: str) -> str:
    """Return a class name without case and blanks; names with equal results differ in nothing else.

    >>> plain_name(" Fire ANT") == plain_name("fireant")
    True
    """
    plain = "".join(unicodedata.normalize("NFKC", name).split()).casefold()
    # Format characters (a zero-width space, a byte order mark) cannot be seen either.
    return "".join(character for character in plain if unicodedata.category(character) != "Cf")
