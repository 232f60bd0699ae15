"""Read JSON that other programs wrote: a file becomes a value or a `Problem`, a value is checked before it is used.

The functions on values raise `FormatError`, whose message names the key and what was expected. Nothing here writes.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from c2d.core.regular_file import FormatError, Problem, error_text, printable, read_bytes

FORMAT = 1
"""The value of `format` in every JSON file of a run folder."""


def read_json(path: Path) -> Any | Problem:
    """Return the value of a .json or .json.gz file, or a Problem with the reason why it has none."""
    try:
        raw = read_bytes(path)
        return parse_json(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (EOFError, zlib.error) as error:
        return Problem(path, f"is not a complete gzip file ({error_text(error)})")
    except FormatError as error:
        return Problem(path, str(error))
    except (OSError, MemoryError) as error:  # gzip.BadGzipFile is an OSError
        return Problem(path, f"cannot be read: {error_text(error)}")


def read_object(path: Path) -> dict[str, Any] | Problem:
    """Return the object in a JSON file of format 1, or a Problem."""
    value = read_json(path)
    if isinstance(value, Problem):
        return value
    try:
        return check_format(value)
    except FormatError as error:
        return Problem(path, str(error))


def parse_json(raw: bytes) -> Any:
    """Parse JSON text. NaN and Infinity are refused: they are not JSON, and an undefined number is null.

    Raises:
        FormatError: not JSON.
    """
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except FormatError:
        raise
    except RecursionError:
        raise FormatError("is not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise FormatError(f"is not valid JSON ({error_text(error)})") from None


def check_format(value: Any) -> dict[str, Any]:
    """Return `value` if it is an object whose key `format` is 1.

    Raises:
        FormatError: anything else.
    """
    if not isinstance(value, dict):
        raise FormatError(f"holds {type_name(value)} where an object belongs")
    found = value.get("format")
    # Not isinstance: for Python, true is an int and equal to 1.
    if type(found) is not int or found != FORMAT:
        given = f"is of format {_shown(found)}" if "format" in value else "names no format"
        raise FormatError(f"{given}; this version reads format {FORMAT}")
    return value


def required(value: Any, *keys: str) -> Any:
    """Return the value under nested keys.

    Raises:
        FormatError: a key is missing, or a value on the way is not an object.
    """
    for depth, key in enumerate(keys):
        if not isinstance(value, Mapping):
            raise FormatError(f"{'.'.join(keys[:depth]) or 'it'} is {type_name(value)} where an object belongs")
        if key not in value:
            raise FormatError(f"{'.'.join(keys[: depth + 1])} is missing")
        value = value[key]
    return value


def optional(value: Any, *keys: str) -> Any:
    """Return the value under nested keys; None if a key is missing or a value on the way is null.

    Raises:
        FormatError: a value on the way is neither an object nor null.
    """
    for depth, key in enumerate(keys):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise FormatError(f"{'.'.join(keys[:depth]) or 'it'} is {type_name(value)} where an object belongs")
        value = value.get(key)
    return value


def number(value: Any, name: str, low: float = -math.inf, high: float = math.inf) -> float | None:
    """Return `value` as a finite float; None for null, which is how an undefined number is written.

    Args:
        value: the JSON value.
        name: its key, for the message.
        low: smallest allowed number.
        high: largest allowed number.

    Raises:
        FormatError: not a number, not finite, out of bounds.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"{name} is {_shown(value)} where a number belongs")
    try:
        found = float(value)
    except OverflowError:
        # An integer of JSON has no limit; the largest float is 1.8e308.
        found = math.inf
    if not math.isfinite(found):
        raise FormatError(f"{name} is not finite")
    if not low <= found <= high:
        raise FormatError(f"{name} is {found:g}, outside {low:g} to {high:g}")
    return found


def text(value: Any, name: str) -> str:
    """Return `value` as one printable line; "" for null.

    Args:
        value: the JSON value.
        name: its key, for the message.

    Raises:
        FormatError: not text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FormatError(f"{name} is {_shown(value)} where text belongs")
    return printable(value)


def items(value: Any, name: str) -> list[Any]:
    """Return `value` if it is a list.

    Args:
        value: the JSON value.
        name: its key, for the message.

    Raises:
        FormatError: not a list.
    """
    if not isinstance(value, list):
        raise FormatError(f"{name} is {type_name(value)} where a list belongs")
    return value


def type_name(value: Any) -> str:
    """Return the JSON type of a value with its article: `a list`, `an object`, `null`."""
    names: Iterable[tuple[Any, str]] = (
        # bool comes first, because a bool is an int.
        (bool, "a truth value"), (int | float, "a number"), (str, "text"), (list, "a list"), (dict, "an object"),
    )  # fmt: skip
    return next((name for of, name in names if isinstance(value, of)), "null")


def _shown(value: Any) -> str:
    return type_name(value) if isinstance(value, list | dict) else ascii(value)[:60]


def _refuse_constant(name: str) -> float:
    raise FormatError(f"is not valid JSON (it holds {name}; an undefined number is null)")
