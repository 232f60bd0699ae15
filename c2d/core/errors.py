"""The two ways a command can end badly, and how an unknown name is answered.

An `InputError` means that nothing was changed and the user has to give something else (exit 2). A `RunError` means
that work had begun, failed and was recorded (exit 1). Both are one line: what was given, what is allowed, what next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input, found before anything was changed. Printed as one line, without a traceback."""

    exit_code = 2
    failure_class = "config"
    """What status.json records where somebody records it; an instance may say otherwise (`data`)."""


class Busy(InputError):
    """Another process writes this run at the moment. Whoever can wait may try again."""


class RunError(Exception):
    """Work had begun and failed; `failure_class` is what status.json records (config, data, nan, disk, ...)."""

    exit_code = 1

    def __init__(self, message: str, failure_class: str = "unknown") -> None:
        super().__init__(message)
        self.failure_class = failure_class


def first_line(error: BaseException) -> str:
    """What an error says, in one line of at most 300 characters; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def unknown(kind: str, given: str, known: Iterable[str], hint: str = "") -> InputError:
    """The answer to a name that does not exist: what was given, the closest name, all known names, what next.

    >>> str(unknown("distiller", "icdo", ["icod", "fgfi"]))
    "unknown distiller 'icdo'; did you mean 'icod'? known: fgfi, icod"
    """
    given, names = str(given), sorted(map(str, known))
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    guess = f" did you mean '{close[0]}'?" if close else ""
    listing = f" known: {', '.join(names)}" if names else " none is known"
    return InputError(f"unknown {kind} '{given}';{guess}{listing}{'; ' + hint if hint else ''}")
