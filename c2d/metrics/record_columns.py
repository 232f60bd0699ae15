"""Convert a list of COCO records to arrays, and report the first record that is wrong."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2d.core.errors import InputError, abbreviate


def index_of(ids: list[Any]) -> dict[Any, int]:
    """Return {id: its index in the list}."""
    return {key: place for place, key in enumerate(ids)}


def sorted_ids(records: list[Any], where: str) -> list[Any]:
    """Return the ids of records, ascending.

    Args:
        records: images or categories.
        where: their key in the file, for messages.

    Raises:
        InputError: an id is missing or repeated, or ids of several types.
    """
    try:
        ids = [record["id"] for record in records]
        ordered = sorted(set(ids))
    except (KeyError, TypeError) as error:
        raise InputError(f"{where}: every entry needs an 'id', all of one type ({error})") from None
    if len(ordered) != len(ids):
        repeated = [key for key, n in Counter(ids).items() if n > 1]
        raise InputError(f"{where}: id {abbreviate(repeated)} occurs more than once; ids must be unique")
    return ordered


def column(records: Sequence[Mapping[str, Any]], key: str, what: str) -> list[Any]:
    """Return the values under `key` of all records; `what` names a record in messages.

    Raises:
        InputError: a record does not have the key.
    """
    try:
        return [record[key] for record in records]
    except (KeyError, TypeError):
        at = next(i for i, record in enumerate(records) if not isinstance(record, Mapping) or key not in record)
        raise InputError(f"{what} number {at} has no {key!r}: {records[at]!r:.120}") from None


def positions(records: Sequence[Mapping[str, Any]], key: str, known: Mapping[Any, int], what: str) -> NDArray[Any]:
    """Return (N,) int64: the index in `known` of the id under `key` of each record.

    Raises:
        InputError: an id that is not in `known`.
    """
    values = column(records, key, what)
    try:
        return np.fromiter(map(known.__getitem__, values), dtype=np.int64, count=len(values))
    except (KeyError, TypeError):
        strange = [value for value in dict.fromkeys(map(hashable, values)) if value not in known]
        texts = set(map(str, known))
        is_type = any(str(value) in texts for value in strange)
        raise InputError(
            f"{what}s name {key} {abbreviate(strange)}, which the ground truth does not have "
            f"(it has {len(known)}: {abbreviate(known, 3)}); "
            + ("a number and its text are two ids: write them as the ground truth does" if is_type
               else "evaluate against the set they were made for")
        ) from None  # fmt: skip


def hashable(value: Any) -> Any:
    """Return `value`, or its text if it cannot be a key of a dict."""
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def box_column(records: Sequence[Mapping[str, Any]], what: str) -> NDArray[Any]:
    """Return the boxes of all records, (N, 4) float64 xywh in px.

    Raises:
        InputError: a box is not four finite numbers, or its width or height is negative.
    """
    return _table(column(records, "bbox", what), what)


def _table(boxes: list[Any], what: str) -> NDArray[Any]:
    try:
        if any(n != 4 for n in map(len, boxes)):
            raise ValueError
        flat = np.fromiter(chain.from_iterable(boxes), dtype=np.float64, count=4 * len(boxes))
    except OverflowError:
        return _table([[_float(value) for value in box] for box in boxes], what)
    except (TypeError, ValueError):
        at = next((i for i, box in enumerate(boxes) if not _four_numbers(box)), 0)
        given = f"{what} number {at}: bbox {boxes[at]!r:.80}"
        raise InputError(f"{given} is not four numbers [x, y, width, height]") from None
    table = flat.reshape(-1, 4)
    _refuse(~np.all(np.isfinite(table), axis=1), boxes, f"{what} number {{}}: bbox {{}} is not finite")
    _refuse(np.any(table[:, 2:] < 0, axis=1), boxes, f"{what} number {{}}: bbox {{}} has a negative width or height")
    return table


def _four_numbers(box: Any) -> bool:
    try:
        return len(box) == 4 and all(isinstance(float(_float(value)), float) for value in box)
    except (TypeError, ValueError):
        return False


def finite_column(values: list[Any], what: str, key: str) -> NDArray[Any]:
    """Return `values`, those under `key` of all records, as (N,) float64.

    Raises:
        InputError: one is not a finite number.
    """
    try:
        numbers = np.fromiter(values, dtype=np.float64, count=len(values))
    except OverflowError:
        return finite_column([_float(value) for value in values], what, key)
    except (TypeError, ValueError):
        at = next((i for i, value in enumerate(values) if not isinstance(value, int | float | np.number)), 0)
        raise InputError(f"{what} number {at}: {key} {values[at]!r:.80} is not a number") from None
    _refuse(~np.isfinite(numbers), values, f"{what} number {{}}: {key} {{}} is not finite")
    return numbers


def _float(value: Any) -> Any:
    """Return an integer that is too large for a float as infinity, so that it is reported as not finite."""
    beyond = isinstance(value, int) and abs(value) > sys.float_info.max
    return (math.inf if value > 0 else -math.inf) if beyond else value


def _refuse(bad: Any, values: Sequence[Any], message: str) -> None:
    """Raise for the first row that is bad, with the number of the others."""
    rows = np.flatnonzero(bad)
    if len(rows):
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise InputError(message.format(rows[0], values[rows[0]]) + more)
