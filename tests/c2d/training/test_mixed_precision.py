"""Mixed precision on the CPU: a distilled step in bf16 and fp16 gives finite terms, and its run ends with a result."""

from __future__ import annotations

import json
import math

import pytest

from c2d.core.run_folder import RunFolder
from c2d.training.train import train
from tests.c2d.conftest import TinyStore


@pytest.mark.parametrize("precision", ["amp-bf16", "amp-fp16"])
def test_a_distilled_run_in_mixed_precision(tiny_store: TinyStore, teacher: RunFolder, precision: str) -> None:
    schedule = {"name": "smoke", "values": {"iterations": 3, "batch": 4, "precision": precision}}
    folder = tiny_store.create_run(schedule=schedule, method=[{"icod": {}}], teachers={"classifier": teacher.id})
    result = train(folder, tiny_store.options())
    assert result["AP"] is not None
    events = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert len(events) == 3
    for event in events:
        assert all(math.isfinite(value) for value in event.values() if isinstance(value, float))
        assert event["loss_kd_icod_cls"] > 0
        assert event["loss_kd_icod_feat"] > 0
