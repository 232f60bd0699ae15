"""How often and when a failed run is retried by itself.

Failures of the infrastructure are retried with back-off, failures for lack of a resource with more of it. Code is
retried only on request: the same code with the same spec fails the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from c2d.core.failure_classes import FAILURE_CLASSES, class_of_name

AUTOMATIC: Final = tuple(name for name, item in FAILURE_CLASSES.items() if item.kind in ("infrastructure", "resource"))
"""Classes that are retried by themselves."""
BACKOFF_S: Final = (0.0, 60.0, 300.0, 900.0, 1800.0)
"""Wait before a retry in seconds, by the number of failures of one class in a row; the last one from there on."""
NODE_FAILURES: Final = 2
"""Number of infrastructure failures on one node after which a sweep leaves that node out."""


def backoff_s(failures: int) -> float:
    """Return the seconds to wait before the next attempt.

    Args:
        failures: number of failures of one class in a row.
    """
    return BACKOFF_S[min(max(failures - 1, 0), len(BACKOFF_S) - 1)]


def exhausted(failure_class: str, attempts: Sequence[Mapping[str, object]]) -> bool:
    """Return whether a run must not be retried by itself any more.

    Args:
        failure_class: of the newest failure.
        attempts: lines of attempts.jsonl, oldest first, the newest failure included: {class, iteration, ...}.
    """
    return (
        failure_class not in AUTOMATIC
        or failures_of(failure_class, attempts) > class_of_name(failure_class).max_retries
    )


def failures_of(failure_class: str, attempts: Sequence[Mapping[str, object]]) -> int:
    """Return the number of failures of a class; where progress resets it, since a later iteration was last reached.

    Args:
        failure_class: of the newest failure.
        attempts: lines of attempts.jsonl, oldest first, the newest failure included.
    """
    resets = class_of_name(failure_class).progress_resets
    count, reached = 0, -1
    for attempt in attempts:
        iteration = int(str(attempt.get("iteration") or 0))  # a whole number: `load_attempts` has checked it
        if attempt.get("class") == failure_class:
            count = 1 if resets and iteration > reached else count + 1
        reached = max(reached, iteration)
    return count
