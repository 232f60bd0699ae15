"""Which images make a batch, which stages exist, and which clock reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.latency import latency_request, pipeline, stages
from c2d.core.errors import InputError

FILES = [Path(name) for name in "abcde"]


def names(size: int) -> list[str]:
    return ["".join(map(str, batch)) for batch in stages.batches_of_files(FILES, size)]


def test_batches_are_full_and_every_image_is_in_one() -> None:
    assert names(1) == ["a", "b", "c", "d", "e"]
    assert names(2) == ["ab", "cd", "ea"]
    assert names(7) == ["abcdeab"]


def test_no_more_than_some_batches_are_held() -> None:
    assert len(stages.batches_of_files([Path(str(index)) for index in range(100)], 1)) == stages.MAX_BATCHES


def test_stages_come_in_their_order_and_unknown_ones_are_refused() -> None:
    assert latency_request.check_stages(["end to end", "model"]) == ("model", "end to end")
    with pytest.raises(InputError, match="unknown stage 'modle'; did you mean 'model'"):
        latency_request.check_stages(["modle"])


def test_gpu_stages_are_timed_by_device_events() -> None:
    assert {stages.stage_clock(stage, "cpu")[0] for stage in latency_request.STAGES} == {"perf_counter"}
    on_gpu = {stage: stages.stage_clock(stage, "cuda")[0] for stage in latency_request.STAGES}
    assert [stage for stage, clock in on_gpu.items() if clock == "device events"] == ["host to device", "model"]


def test_nms_is_named() -> None:
    assert stages.stage_nms("model", "out") == "out"
    assert stages.stage_nms("model", "RPN's") == "RPN's"
    assert stages.stage_nms("end to end", "out") == "in"
    assert stages.stage_nms("read and decode", "in") == "out"


def test_random_images_are_the_same_every_time(tmp_path: Path) -> None:
    import cv2

    some = pipeline.write_random_images(tmp_path / "one", (40, 60), 2)
    again = pipeline.write_random_images(tmp_path / "two", (40, 60), 3)
    pixels = cv2.imread(str(some[0]))
    assert pixels is not None
    assert pixels.shape == (40, 60, 3)
    assert [a.read_bytes() == b.read_bytes() for a, b in zip(some, again, strict=False)] == [True, True]
    assert some[0].read_bytes() != some[1].read_bytes()
