"""The slow reference beside our terms: run from the tests of a checkout; without a checkout a note reports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training import reference_step
from benchmarks.training.reference_step import reference_times
from tests.c2d.methods import reference_step_times
from tests.forked_python import SUBPROCESS


@pytest.mark.slow
def test_a_reference_is_slower_and_agrees() -> None:
    found, why = reference_times(["fgd"], "retinanet-qr18")
    assert why == ""
    assert found["fgd"]["deviation"] < 1e-5
    assert found["fgd"]["reference_ms"] > 5 * found["fgd"]["ours_ms"] > 0


def test_no_checkout_and_a_method_that_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_step, "subprocess", SUBPROCESS)
    assert reference_times(["fgd"], "retinanet-qr18", tmp_path) == (
        {},
        "no slow reference beside ours: c2d is installed; run from a checkout, which has tests/",
    )
    found, why = reference_times(["nothing"], "retinanet-qr18")
    assert found == {}
    assert why.startswith("no slow reference beside nothing: ")


def test_time_is_taken_once_of_functions_that_call_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that advances by one second at each reading: the outer function reads 1 and 3, the inner one 2."""
    ticks = iter(range(1, 100))
    monkeypatch.setattr(reference_step_times.time, "perf_counter", lambda: float(next(ticks)))
    watch = reference_step_times.Stopwatch()
    inner = watch.around(lambda: 5)
    outer = watch.around(lambda: inner() + 1)
    assert outer() == 6
    assert watch.ms == 2000


@pytest.mark.parametrize(
    ("student", "tiny"), [("retinanet-qr18", "retinanet"), ("faster-rcnn-r50", "faster"), ("x", None)]
)
def test_families(student: str, tiny: str | None) -> None:
    assert reference_step_times.family(student) == tiny
