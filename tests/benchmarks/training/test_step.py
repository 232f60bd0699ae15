"""The step benchmark on a small case: raw samples are returned, and the table is computed from them."""

from __future__ import annotations

import sys

from benchmarks.training.step import StepCase, markdown, measure_step
from tests.forked_python import run_forked

SMALL = StepCase(
    "retinanet-qr18", "resnet18", batch=2, size=96, objects=3, crop=32, max_positives=8, side=0.3, classes=3
)


def test_samples_positives_and_memory() -> None:
    record = measure_step(SMALL, repeats=3)
    assert [len(record[f"{name}_ms"]) for name in ("plain", "distilled", "floor")] == [3, 3, 3]
    assert min(record["plain_ms"] + record["distilled_ms"] + record["floor_ms"]) > 0
    assert record["positives"] >= record["used"] == 8
    assert record["case"]["student"] == "retinanet-qr18"


def test_memory_is_what_two_steps_hold_beyond_the_packages() -> None:
    """At least weights and gradients of the student, 2.3 M numbers of 4 bytes each; the teacher's weights on top."""
    code = f"from benchmarks.training.step import *; print(peak_mib({SMALL!r}, {{kind!r}}, 1))"
    plain, distilled = (
        float(
            run_forked(
                [sys.executable, "-c", code.format(kind=kind)], capture_output=True, text=True, check=True
            ).stdout.splitlines()[-1]
        )
        for kind in ("plain", "distilled")
    )
    assert 15 < plain < 300
    assert distilled > plain + 20


def test_the_table_takes_medians_and_ratios_pair_by_pair() -> None:
    case = {"student": "s", "network": "n", "crop": 1, "batch": 1}
    record = {
        "case": case,
        "plain_ms": [10.0, 20.0, 40.0],
        "distilled_ms": [20.0, 30.0, 60.0],
        "floor_ms": [1.0, 2.0, 8.0],
        "positives": 5,
        "used": 4,
        "plain_mib": 100.0,
        "distilled_mib": 120.0,
    }
    row = markdown([record]).splitlines()[-1]
    assert row == "| s | n, 1 | 1 | 5 (4) | 20 | 30 | 1.50 | 1.10 | 100 | 120 |"
