"""Read a flag of an annotation file (difficult, truncated, occluded, iscrowd), which tools write as many words."""

from __future__ import annotations

import math

FALSE_WORDS = ("", "false", "f", "no", "n", "off", "none", "null", "nil", "nan", "n/a", "na", "unspecified", "unknown")
TRUE_WORDS = ("true", "t", "yes", "y", "on")
# Tools write -1 where the flag was not filled in.
FALSE_NUMBERS = (0, -1)

ALLOWED_FLAGS = "wanted 0, -1, false, no, none, n/a, unspecified or nothing for 0, and 1, true or yes for 1"


def read_flag(value: object) -> int:
    """Return a flag as 0 or 1.

    >>> [read_flag(value) for value in ("False", " no ", "0.0", "-1", "Unspecified", None, False, "1", "Yes", 1.0)]
    [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]

    Args:
        value: text of an XML element, or a JSON value; case and blanks around it do not count.

    Raises:
        ValueError: neither false nor true; the message has the value and the words that are allowed.
    """
    word = "" if value is None else str(value).strip().lower()
    if word in FALSE_WORDS:
        return 0
    if word in TRUE_WORDS:
        return 1
    try:
        number = float("inf" if "_" in word else word)  # Python reads 0_1 as 1
    except ValueError:
        number = math.inf
    if number in FALSE_NUMBERS:
        return 0
    if number == 1:
        return 1
    raise ValueError(f"is {value!r}; {ALLOWED_FLAGS}")
