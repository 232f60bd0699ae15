"""Read metrics.jsonl into curves. One event a line; of several events of an iteration the last one counts.

A resumed attempt repeats the iterations after its checkpoint, a killed one leaves half a line: both are normal. NaN and
Infinity are kept, because a curve that ends in them shows why a run failed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2d.core.curves.event_file import THINNED
from c2d.core.regular_file import FormatError, read_bytes

if TYPE_CHECKING:
    import pandas as pd

VALIDATED = ("AP", "AP50", "AP75")
LONGEST_MARK = 500
"""Bytes of the first line, which tells what an export left out."""
AT_ONCE = 1000
"""Lines read together: enough for speed, few enough that one bad line costs little."""


def read_metrics(path: Path) -> pd.DataFrame:
    """Read the train events.

    Returns:
        Columns iteration, loss, every term with `loss` in its name, every kd_*; one row an iteration, in ascending
        order. A value that an event lacks, or that is no number, is NaN. `attrs["skipped"]` counts the lines that could
        not be used. No file, or an empty one, gives no row.
    """
    iterations, found, skipped = _events(path, "train", lambda key: "loss" in key or key.startswith("kd_"))
    terms = [key for key in found if key != "loss" and not key.startswith("kd_")]
    return _frame(iterations, found, skipped, ["loss", *terms, *(key for key in found if key.startswith("kd_"))])


def read_validation(path: Path) -> pd.DataFrame:
    """Read the validation events: columns iteration, AP, AP50, AP75 in 0-1, NaN where undefined.

    Rows are those of `read_metrics`.
    """
    return _frame(*_events(path, "val", VALIDATED.__contains__), VALIDATED)


def read_thinned(path: Path) -> tuple[int, int] | None:
    """Return (kept, recorded) train events of a file that an export thinned; None of any other file."""
    try:
        with path.open("rb") as stream:
            event = _value(stream.readline(LONGEST_MARK))
    except OSError:
        return None
    if not isinstance(event, dict) or event.get("event") != THINNED:
        return None
    kept, recorded = event.get("kept"), event.get("of")
    return (kept, recorded) if type(kept) is int and type(recorded) is int else None


def _events(
    path: Path, kind: str, wanted: Callable[[str], bool]
) -> tuple[list[int], dict[str, list[tuple[int, list[float]]]], int]:
    """(iteration of every event, {key: pieces of its values with the place of their first}, unusable lines)."""
    try:
        lines = read_bytes(path).split(b"\n")
    except (OSError, FormatError):
        return [], {}, 0
    iterations: list[int] = []
    found: dict[str, list[tuple[int, list[float]]]] = {}
    skipped = 0
    for start in range(0, len(lines), AT_ONCE):
        events = []
        for value in _values([line for line in lines[start : start + AT_ONCE] if line.strip()]):
            iteration = value.get("iteration") if isinstance(value, dict) else None
            if type(iteration) is not int or not 0 <= iteration < 2**53:  # float64 holds such integers exactly
                skipped += 1
            elif value.get("event") == kind:
                events.append(value)
        for key in dict.fromkeys(key for event in events for key in event):
            if key.isprintable() and wanted(key):
                found.setdefault(key, []).append((len(iterations), [_number(event.get(key)) for event in events]))
        iterations += [event["iteration"] for event in events]
    return iterations, found, skipped


def _values(lines: list[bytes]) -> list[Any]:
    """The value of each line, None where it is no JSON. Where all are whole, they are read as one array: faster."""
    try:
        together = json.loads(b"[" + b",".join(lines) + b"]")
        if len(together) == len(lines):  # a line such as `1,2` is no JSON, but two items of the array
            return together
    except (ValueError, RecursionError):
        pass
    return [_value(line) for line in lines]


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _frame(
    iterations: list[int], found: dict[str, list[tuple[int, list[float]]]], skipped: int, keys: Sequence[str]
) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    steps = np.array(iterations, dtype=np.int64)
    # np.unique gives the first place of a value; in the reversed array that is the last event.
    distinct, from_end = np.unique(steps[::-1], return_index=True)
    last = len(steps) - 1 - from_end  # of several events of an iteration, the one written last
    columns = {"iteration": distinct}
    for key in keys:
        column = np.full(len(steps), math.nan)
        for place, piece in found.get(key, ()):
            column[place : place + len(piece)] = piece
        columns[key] = column[last]
    frame = pd.DataFrame(columns)
    frame.attrs["skipped"] = skipped
    return frame


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:  # not isinstance: True is an int as well
        try:
            return float(value)
        except OverflowError:  # JSON has integers of any size
            return math.inf if value > 0 else -math.inf
    return math.nan
