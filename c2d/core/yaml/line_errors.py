"""Collect the errors of one text file, each with its line and key, and raise them together."""

from __future__ import annotations

import re
from typing import NamedTuple

from c2d.core.errors import InputError

LONG_WORD = re.compile(r"(\S{60})\S{140,}")
KeyPath = tuple[str | int, ...]
"""Keys and indices from the top of a file to a value: ("exclude", 0, "method")."""


class LineError(NamedTuple):
    """One error of a file.

    Attributes:
        line: line of the file, from 1.
        path: the value that is wrong.
        text: the whole message, `FILE:LINE: KEY: ...`.
    """

    line: int
    path: KeyPath
    text: str


class LineErrors:
    """The errors of one file.

    Attributes:
        file: name of the file in the messages.
        lines: line of each value, from 1. The reader of the file fills it.
        found: the errors so far.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        self.found: list[LineError] = []

    def add(self, path: KeyPath, message: str, line: int | None = None) -> None:
        """Add an error.

        Args:
            path: the value that is wrong; () is the whole file.
            message: what is wrong with it and how to fix it.
            line: its line, from 1. By default the line of the value, or of the nearest value that contains it.
        """
        nearest = next((path[:n] for n in range(len(path), -1, -1) if path[:n] in self.lines), ())
        line = line or self.lines.get(nearest, 1)
        name = key_text(path)
        # A word of a thousand letters or digits is shown by its beginning.
        what = LONG_WORD.sub(r"\1...", f"{name + ': ' if name else ''}{message}")
        text = f"{self.file}:{line}: {what}"
        # Keys and values of a file may hold control characters, which a terminal would obey.
        self.found.append(LineError(line, path, "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)))

    def extend_messages(self, first: int, text: str) -> None:
        """Append `text` to the messages of the errors from number `first` on."""
        self.found[first:] = [error._replace(text=error.text + text) for error in self.found[first:]]

    def has_error_in(self, path: KeyPath) -> bool:
        """Return whether the value at `path`, or one inside it, has an error."""
        start = key_text(path)
        names = (key_text(error.path) for error in self.found)
        return any(name == start or name.startswith((f"{start}.", f"{start}[")) for name in names)

    def raise_if_any(self) -> None:
        """Raise one error with a line for each error found, in the order of the file.

        Raises:
            InputError: there is at least one.
        """
        if self.found:
            in_order = sorted(self.found, key=lambda error: error.line)
            raise InputError(*dict.fromkeys(error.text for error in in_order))


def key_text(path: KeyPath) -> str:
    """Write a path as in Python.

    >>> key_text(("exclude", 0, "method"))
    'exclude[0].method'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
