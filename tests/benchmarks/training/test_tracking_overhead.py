"""The cost of trackers: blocks in turn, a tracker that blocks costs nothing, the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training import tracking_overhead
from benchmarks.training.tracking_overhead import BLOCKED, markdown, measure_tracking


def test_blocks_of_each_tracker_lie_between_blocks_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_overhead, "distilled_step", lambda *_: lambda: {"loss": float(sum(range(20000)))})
    monkeypatch.setattr(tracking_overhead, "BLOCK_S", 0.2)
    monkeypatch.setattr(tracking_overhead, "BATCH_S", 0.01)
    record = measure_tracking(tmp_path, rounds=2, steps=3, trackers=("tensorboard", BLOCKED))
    assert {name: len(values) for name, values in record["step_ms"].items()} == {
        "none": 4,
        "tensorboard": 2,
        BLOCKED: 2,
    }
    assert {name: len(values) for name, values in record["put_us"].items()} == {"tensorboard": 9, BLOCKED: 9}
    assert 0 < record["event_ms"]["tensorboard"] < 10
    record |= {"step_ms": {"none": [50.0] * 4}, "event_ms": {"tensorboard": 0.25}, "put_us": {"tensorboard": [4.0]}}
    record["ratios"] = {"tensorboard": [1.0, 1.01, 1.02]}
    assert "| tensorboard | 0.250 | 0.50 | 1.010 | 1.000 to 1.020 | 4 |" in markdown(record)
