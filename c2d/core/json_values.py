"""Read JSON that other programs wrote: a file becomes a value or a `Problem`, a value is checked before it is used.

The functions on values raise `FormatError`, whose message names the key and what was expected. Nothing here writes.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from c2d.core.regular_file import FormatError, Problem, error_text, printable, read_bytes

FORMAT = 1
"""The value of `format` in every JSON file of a run folder."""
MAX_BYTES = 256 * 2**20
"""A larger JSON file is none of ours: the record of a sweep of 100,000 cells has about 30 MB."""
MAX_UNZIPPED_BYTES = 2**30
"""Detections of 100,000 images with 100 boxes each have about 600 MB."""
SMALL_BYTES = 2**20
"""Limit of the files that describe the state of one run; they have about 1 kB."""
TIMES = (0.0, 4_102_444_800.0)
"""Time stamps in seconds since the epoch: from 1970 to 2100."""


def read_json(path: Path, most: int = MAX_BYTES) -> Any | Problem:
    """Return the value of a .json or .json.gz file, or a Problem with the reason why it has none.

    Args:
        path: the file.
        most: bytes of a larger file, which is refused.
    """
    try:
        raw = read_bytes(path, most=most)
        return parse_json(_unzipped(raw) if path.suffix == ".gz" else raw)
    except (EOFError, zlib.error) as error:
        return Problem(path, f"is not a complete gzip file ({error_text(error)})")
    except FormatError as error:
        return Problem(path, str(error))
    except (OSError, MemoryError) as error:  # gzip.BadGzipFile is an OSError
        return Problem(path, f"cannot be read: {error_text(error)}")


def read_object(path: Path, most: int = MAX_BYTES) -> dict[str, Any] | Problem:
    """Return the object in a JSON file of format 1, or a Problem.

    Args:
        path: the file.
        most: bytes of a larger file, which is refused.
    """
    value = read_json(path, most)
    if isinstance(value, Problem):
        return value
    try:
        return check_format(value)
    except FormatError as error:
        return Problem(path, str(error))


def parse_json(raw: bytes) -> Any:
    """Parse JSON text. NaN and Infinity are refused, an undefined number is null; so is a key that is given twice.

    Raises:
        FormatError: not JSON.
    """
    try:
        return json.loads(raw, parse_constant=_refuse_constant, object_pairs_hook=_object)
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


def whole(value: Any, name: str, low: int = 0, high: int = 10**12) -> int | None:
    """Return `value` as an int; None for null.

    Args:
        value: the JSON value; 4.0 is a whole number, true is none.
        name: its key, for the message.
        low: smallest allowed number.
        high: largest allowed number.

    Raises:
        FormatError: not a whole number, out of bounds.
    """
    found = number(value, name, low, high)
    if found is None:
        return None
    if found != int(found):
        raise FormatError(f"{name} is {found:g} where a whole number belongs")
    return int(found)


def time_text(value: Any, name: str) -> str:
    """Return `value` if it is an ISO time; "" for null.

    Args:
        value: the JSON value; a time without a zone is UTC.
        name: its key, for the message.

    Raises:
        FormatError: not a time, or not of these years.
    """
    stamp = text(value, name)
    if not stamp:
        return ""
    try:
        at = datetime.fromisoformat(stamp)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise FormatError(f"{name} is {_shown(value)} where a time such as 2026-01-31T12:00:00+00:00 belongs") from None
    if not TIMES[0] <= seconds <= TIMES[1]:
        raise FormatError(f"{name} is {_shown(value)}, outside the years 1970 to 2100")
    return stamp


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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise FormatError(f"is not valid JSON (it has the key {twice!a:.60} twice)")
    return found


def _unzipped(raw: bytes) -> bytes:
    """Unzip in parts: a small file can hold more than the memory."""
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
        found = stream.read(MAX_UNZIPPED_BYTES + 1)
    if len(found) > MAX_UNZIPPED_BYTES:
        raise FormatError(f"holds more than {MAX_UNZIPPED_BYTES} bytes when it is unzipped")
    return found


def _refuse_constant(name: str) -> float:
    raise FormatError(f"is not valid JSON (it holds {name}; an undefined number is null)")
