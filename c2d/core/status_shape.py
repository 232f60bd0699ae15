"""The form of status.json: its keys, the kind and the range of their values. It is checked where the file is read.

Only the standard library is imported, so a login node reads the state of a thousand runs quickly.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from c2d.core.json_values import SMALL_BYTES, TIMES, check_format, number, parse_json, text, time_text, whole
from c2d.core.regular_file import FormatError, MissingFile, Problem, error_text, read_bytes

STATES = ("waiting", "running", "done", "failed")
MAX_S = 1e10
"""Largest duration of a run in seconds, about 300 years."""
MEND_STATUS = "remove it: the next attempt of the run continues from its newest checkpoint"


def _count(value: Any, key: str) -> int:
    return whole(value, key, high=10**9) or 0


def _pid(value: Any, key: str) -> int | None:
    return whole(value, key, high=2**31 - 1)


def _seconds(value: Any, key: str) -> float | None:
    return number(value, key, -MAX_S, MAX_S)


def _epoch(value: Any, key: str) -> float | None:
    return number(value, key, *TIMES)


def _time(value: Any, key: str) -> str | None:
    return time_text(value, key) or None


def _text(value: Any, key: str) -> str | None:
    return text(value, key) or None


CHECKS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "attempt": _count,
    "pid": _pid,
    "iteration": whole,
    "iterations": whole,
    "begun": _epoch,
    **dict.fromkeys(("elapsed_before_s", "elapsed_s", "cpu_before_s", "cpu_s"), _seconds),
    "heartbeat": _time,
    **dict.fromkeys(("host", "node", "stage", "reason", "failure_class", "error"), _text),
}
"""{key: function (value, key) that returns the value, or raises FormatError}. Null is allowed, a key may be missing."""


def read_status_file(path: Path) -> dict[str, Any] | Problem | None:
    """Return the checked content of a status.json; None if it is missing, a Problem with what to do if it is damaged.

    Keys that this version does not know are kept.
    """
    try:
        value = check_format(parse_json(read_bytes(path, most=SMALL_BYTES)))
        if value.get("state") not in STATES:
            raise FormatError(f"state is {value.get('state')!a:.60}, none of {', '.join(STATES)}")
        for key in CHECKS.keys() & value.keys():
            value[key] = CHECKS[key](value[key], key)
        return value
    except MissingFile:
        return None
    except (OSError, FormatError) as error:
        return Problem(path, f"{error_text(error)}; {MEND_STATUS}")
