"""A method's terms beside those of its slow reference, on the tiny detectors of the tests: time and deviation.

    python -m tests.c2d.methods.reference_step_times fgd icod --student retinanet

prints {method: {ours_ms, reference_ms, deviation}}: the terms of one batch of two images of 48 px, forward alone, fp32
here and fp64 there. `c2d bench step` asks it where it runs from a checkout.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from c2d.methods import DISTILLERS
from tests.c2d import tiny_detectors

ROUNDS = 3
"""The first is for what is built and cached at first use; of the others the fastest counts."""


class Stopwatch:
    """Time inside any of the functions it wraps; one that calls another is counted once."""

    def __init__(self) -> None:
        self.ms, self._depth = 0.0, 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **more: Any) -> Any:
            begun, self._depth = time.perf_counter(), self._depth + 1
            try:
                return function(*args, **more)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.ms += 1000 * (time.perf_counter() - begun)

        return timed


@contextmanager
def watched(method: str) -> Iterator[tuple[Stopwatch, Stopwatch]]:
    """(ours, reference): every call of the method, and every call into its reference's file, is timed meanwhile."""
    ours, theirs = Stopwatch(), Stopwatch()
    module = importlib.import_module(f"tests.reference.{method}_reference")
    functions = inspect.getmembers(module, lambda one: inspect.isfunction(one) and one.__module__ == module.__name__)
    with ExitStack() as patches:
        patches.enter_context(patch.object(DISTILLERS[method], "__call__", ours.around(DISTILLERS[method].__call__)))
        for name, function in functions:
            patches.enter_context(patch.object(module, name, theirs.around(function)))
        yield ours, theirs


def parity_of(method: str, student: str | None) -> Callable[[], float]:
    """One comparison: the largest relative deviation of values and gradients."""
    if method == "icod":
        from tests.c2d.methods import icod_parity, test_icod_parity

        def compare() -> float:
            icod_parity.expected.cache_clear()  # or the reference would be computed only once
            return max(test_icod_parity.differences(student or "retinanet", 0, ("crop", "l0")).values())

        return compare
    module = importlib.import_module(f"tests.c2d.methods.test_{method}")
    return functools.partial(module.parity, *([student] if student else []))


def compared(method: str, student: str | None = None) -> dict[str, float]:
    """{ours_ms, reference_ms, deviation} of a method on a tiny student; None: the one its tests begin with."""
    compare = parity_of(method, student)
    rounds = []
    for _ in range(ROUNDS):
        with watched(method) as (ours, theirs):
            deviation = compare()
        rounds.append((ours.ms, theirs.ms))
    assert all(ms > 0 for pair in rounds for ms in pair), f"{method}: a side was never called"
    return {
        "ours_ms": min(ms for ms, _ in rounds[1:]),
        "reference_ms": min(ms for _, ms in rounds[1:]),
        "deviation": deviation,
    }


def family(student: str) -> str | None:
    """The tiny detector of the same family as a student of the list."""
    return next((name for name in tiny_detectors.NAMES if student.startswith(name)), None)


def main() -> None:
    """Print the times of the method on the command line as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", choices=list(DISTILLERS))
    parser.add_argument("--student", default="", help="a student, of whose family the tiny one is")
    given = parser.parse_args()
    print(json.dumps({method: compared(method, family(given.student)) for method in given.methods}))


if __name__ == "__main__":
    main()
