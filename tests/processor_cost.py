"""What a call costs, in units of a fixed piece of Python measured beside it: a bound that slow machines keep too."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def processor_cost(call: Callable[[], T]) -> tuple[T, float]:
    """Return a call's result and its processor time in units. One unit is about 0.1 s on a quiet core of 2024.

    The unit is measured before and after the call, and the slower of the two counts: other work on the machine that
    comes or goes meanwhile makes the cost smaller, never larger.
    """
    before = _processor_s(_unit)[1]
    result, seconds = _processor_s(call)
    return result, seconds / max(before, _processor_s(_unit)[1])


def _unit() -> None:
    """What our own code does most: mappings copied, sorted and written as text."""
    values = {f"key{number}": [number, number / 7, str(number)] for number in range(400)}
    for turn in range(100):
        text = json.dumps(dict(sorted({**values, "turn": [turn]}.items())))
        values = json.loads(text)
        hashlib.sha256(text.encode()).hexdigest()


def _processor_s(call: Callable[[], T]) -> tuple[T, float]:
    begun = time.process_time()
    result = call()
    return result, time.process_time() - begun
