"""The one error family of this room: input that cannot be evaluated.

The room imports nothing of the other rooms, so it carries its own class; whoever shows errors to a person prints the
message and leaves with `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input; nothing was computed or changed. One line: what was given, what is allowed, what to do next."""

    exit_code = 2


def unknown(kind: str, given: object, known: Iterable[object], hint: str = "") -> InputError:
    """An `InputError` for a name outside a closed list, with the nearest known name as a suggestion."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(given), names, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    tail = f"; {hint}" if hint else ""
    return InputError(f"unknown {kind} {given!r}; known: {', '.join(names)}{guess}{tail}")


def some(values: Iterable[object], limit: int = 5) -> str:
    """The first few values as text, with the number of those left out: `3, 7, 9 and 12 more`."""
    items = list(values)
    text = ", ".join(repr(item) for item in items[:limit])
    return text if len(items) <= limit else f"{text} and {len(items) - limit} more"
