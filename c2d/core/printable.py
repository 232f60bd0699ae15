"""What a terminal or a log gets: characters that it would obey, or cannot show, are escaped.

Names come from people and from files: a line break, an escape sequence of a terminal, a mark that turns the direction
of writing, half a surrogate pair. `printable_streams` is the one place where this is done for everything that is
printed; rich, which writes escape sequences itself, writes past it and gets its texts from `printable_markup`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from c2d.core.masking import mask_text

_KEPT = "\n\t"


def printable_text(text: str) -> str:
    r"""Return a text with escapes in the place of all characters that do not show; line feeds and tabs stay.

    >>> print(printable_text("a\x1b[31m \u202eb"))
    a\x1b[31m \u202eb
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _KEPT else ascii(char)[1:-1] for char in text)


def printable_line(text: str) -> str:
    """Return `printable_text` as one line: line feeds and tabs are escaped, too."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def printable_markup(text: str) -> str:
    """Return a line as markup of rich that shows it as it is: [red] in a name stays a text."""
    from rich.markup import escape

    return escape(printable_line(text))


def log_text(text: str) -> str:
    """Return `printable_text` without secrets (`c2d.core.masking`): for what is printed into a file that is kept."""
    return printable_text(mask_text(text))


@contextmanager
def printable_streams(change: Callable[[str], str] = printable_text) -> Iterator[None]:
    """Escape everything that the body prints to stdout and stderr.

    Characters that the encoding of a stream does not have (LC_ALL=C, PYTHONIOENCODING=ascii) are escaped as well. What
    is printed to a stream that was closed before the start (`>&-`) goes nowhere.

    Args:
        change: what is done to each text.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout, sys.stderr = (cast(TextIO, _Printable(stream or nowhere, change)) for stream in before)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _Printable:
    """A text stream that escapes what is written to it, and is the given stream otherwise.

    Attributes:
        rich_proxied_file: the given stream; rich looks for this name and writes its escape sequences there.
    """

    def __init__(self, stream: TextIO, change: Callable[[str], str]) -> None:
        self.rich_proxied_file, self._change = stream, change

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(self._change(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)
