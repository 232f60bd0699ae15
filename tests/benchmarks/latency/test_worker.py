"""The work of one process on a fake student: batches that do not fit, errors, missing data."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.backends.base import PreparedBackend
from benchmarks.latency import stages, worker
from benchmarks.latency.latency_request import LatencyRequest
from benchmarks.latency.stages import measure_stages
from benchmarks.latency.timing import StoppingRule
from benchmarks.machine.peak_memory import is_out_of_memory

QUICK = StoppingRule(min_s=0, min_count=3, warm_s=0, warm_max_s=0.05)


def request(**more: Any) -> LatencyRequest:
    return LatencyRequest("c.py", "k.pth", "eager", "out", "work", rule=QUICK, **more)


def lines_of(
    asked: LatencyRequest, call_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """Return the lines of a process whose stages are `call_of(stage, batch)`."""
    monkeypatch.setattr(stages, "stage_call", lambda pipeline, call, stage, batch, paths: call_of(stage, batch))
    pipeline: Any = SimpleNamespace(device=SimpleNamespace(type="cpu"), network=SimpleNamespace(nms="out"))
    messages: list[dict[str, Any]] = []
    measure_stages(pipeline, PreparedBackend(lambda inputs: (inputs,)), asked, [Path("a")], messages.append)
    return messages


def test_a_request_survives_its_way_through_text() -> None:
    asked = request(size=(300, 400), batches=(1, 8), interval_ms=10.0, threads=2, known_ap=0.25)
    assert LatencyRequest.from_json(asked.to_json()) == asked
    assert LatencyRequest.from_json(request().to_json()) == request()


def test_samples_and_the_state_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(batches=(1,), stages=("model",))
    begin, line = lines_of(asked, lambda stage, batch: lambda: time.sleep(0.002), monkeypatch)
    assert begin == {"begin": [1, "model"]}
    assert len(line["samples_ms"]) == 3
    assert min(line["samples_ms"]) >= 2
    assert (line["batch"], line["stage"], line["nms"], line["clock"]) == (1, "model", "out", "perf_counter")
    assert set(line["seen"]) == {"before", "after"}


def test_a_batch_that_does_not_fit_stops_larger_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def call_of(stage: str, batch: int) -> Callable[[], None]:
        def work() -> None:
            if batch >= 4:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

        return work

    messages = lines_of(request(batches=(8, 1, 4), stages=("model", "end to end")), call_of, monkeypatch)
    rows = {(line["batch"], line["stage"]): line for line in messages if "stage" in line}
    assert len(rows[1, "model"]["samples_ms"]) == len(rows[1, "end to end"]["samples_ms"]) == 3
    for key in ((4, "model"), (4, "end to end"), (8, "model"), (8, "end to end")):
        assert rows[key]["reason"].startswith("batch 4 does not fit in memory (DefaultCPUAllocator: can't allocate")


def test_another_error_is_one_rows_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def call_of(stage: str, batch: int) -> Callable[[], None]:
        if stage == "host to device":
            raise stages.StageNotApplicable("there is nothing to copy")
        if stage == "model":
            raise ValueError("made to fail")
        return lambda: None

    messages = lines_of(request(stages=("host to device", "model", "end to end")), call_of, monkeypatch)
    nothing, failed, good = [line for line in messages if "stage" in line]
    assert (nothing["reason"], nothing["not_applicable"]) == ("there is nothing to copy", True)
    assert failed["reason"] == "ValueError: made to fail"
    assert len(good["samples_ms"]) == 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("onnxruntime: Failed to allocate memory for requested buffer of size 1"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_errors_that_are_out_of_memory(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_failed_allocation_is_recognised_by_its_message() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_input_errors_are_separate_from_other_errors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    messages: list[dict[str, Any]] = []
    worker.serve(LatencyRequest(str(tmp_path / "c.py"), "k.pth", "eager", "out", str(tmp_path)), messages.append)
    (line,) = messages
    assert line["kind"] == "input"
    assert line["failed"].startswith(f"no config {tmp_path / 'c.py'}; give")
