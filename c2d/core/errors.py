"""The errors that end a command with one line, and the texts that several of them share.

An `InputError` means bad input: nothing was changed (exit code 2). A `RunError` means that work had begun, failed and
was recorded (exit code 1). A message is one line: what was given, what is allowed, how to fix it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LONG_WORD = re.compile(r"(\S{200})\S{800,}")
MAX_NAME = 200
"""Characters of a name that does not exist which a message shows; difflib needs minutes for a million."""


class InputError(Exception):
    """Bad input, found before anything was changed. The command prints one line, without a traceback.

    Attributes:
        exit_code: exit code of the command.
        failure_class: class that status.json records when the input of a job is bad; an instance may set another one.
    """

    exit_code = 2
    failure_class = "config"

    def __init__(self, *lines: str) -> None:
        """Build the error.

        Args:
            lines: the message, or one for each mistake; a line break inside one is of a name, and is escaped.
        """
        super().__init__("\n".join(short_words(line).replace("\r", r"\r").replace("\n", r"\n") for line in lines))


class Busy(InputError):
    """Another process is writing the same run. A caller that can wait may retry."""


class RunError(Exception):
    """Work had begun and failed.

    Attributes:
        exit_code: exit code of the command.
        failure_class: class that status.json records (config, data, nan, disk, ...).
    """

    exit_code = 1

    def __init__(self, message: str, failure_class: str = "unknown") -> None:
        super().__init__(short_words(message))
        self.failure_class = failure_class


def short_words(text: str) -> str:
    """Return a text in which a word of more than 1000 characters, which no path has, is shown by its beginning."""
    return _LONG_WORD.sub(r"\1...", text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 300 characters; the name of its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def closest_name(given: str, names: Iterable[str], cutoff: float = 0.5) -> str:
    """Return the first of `names` that begins with `given`, else the most similar one, else "".

    Args:
        given: the name that does not exist.
        names: the names that exist.
        cutoff: smallest similarity, 0 to 1 (`difflib.SequenceMatcher.ratio`).
    """
    known = list(names)
    begun = [name for name in known if len(given) > 2 and name.startswith(given)]
    return next(iter([*begun, *difflib.get_close_matches(given, known, n=1, cutoff=cutoff)]), "")


def unknown_name(kind: str, given: object, names: Iterable[object], hint: str = "") -> InputError:
    """Build the error for a name that does not exist: the closest name, all names, what to do next.

    >>> str(unknown_name("method", "icdo", ["icod", "fgfi"]))
    "unknown method 'icdo'; did you mean 'icod'? known: fgfi, icod"

    Args:
        kind: what the name is of: dataset, method, ...
        given: the name that does not exist.
        names: the names that exist; listed in alphabetical order.
        hint: how to find or make such a name.
    """
    text, known = str(given), sorted(map(str, names))
    text = text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}..."
    shown = f"'{text}'" if text.isprintable() else ascii(text)
    closest = closest_name(text, known)
    guess = f" did you mean '{closest}'?" if closest else ""
    listing = f" known: {', '.join(known)}" if known else " none is known"
    return InputError(f"unknown {kind} {shown};{guess}{listing}{'; ' + hint if hint else ''}")


def abbreviate(values: Iterable[object], limit: int = 5) -> str:
    """Return the first values as text, with the number of those left out.

    >>> abbreviate([3, 7, 9], limit=2)
    '3, 7 and 1 more'
    """
    items = list(values)
    text = ", ".join(repr(item) for item in items[:limit])
    return text if len(items) <= limit else f"{text} and {len(items) - limit} more"
