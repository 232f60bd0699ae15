"""Parity and AP of a pipeline whose raw outputs are its boxes, so that both can be computed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.backends.network import Batch
from benchmarks.backends.registry import BACKENDS
from benchmarks.latency import parity
from benchmarks.latency.artifact_checks import check_outputs
from benchmarks.latency.pipeline import Detections

TRUTH = ((10.0, 10.0, 50.0, 50.0), (20.0, 60.0, 90.0, 90.0))  # one box an image, xyxy


class BoxPipeline:
    """A pipeline of two images of 100 px: the "network" gives the true box of each image and a logit of 0."""

    device = torch.device("cpu")

    def __init__(self, folder: Path, nms: str = "out") -> None:
        self.network = SimpleNamespace(nms=nms, run=lambda call, batch: call(batch.inputs))
        boxes = [
            {"id": index, "image_id": index, "category_id": 7, "bbox": [x, y, right - x, low - y],
             "area": (right - x) * (low - y), "iscrowd": 0}
            for index, (x, y, right, low) in enumerate(TRUTH)
        ]  # fmt: skip
        images = [{"id": index, "file_name": f"{index}.png", "width": 100, "height": 100} for index in range(2)]
        file = folder / "truth.json"
        file.write_text(
            json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "square"}]})
        )
        self.paths = [folder / f"{index}.png" for index in range(2)]
        infos = [{"img_path": str(path), "img_id": index} for index, path in enumerate(self.paths)]
        dataset = _DataSet(infos, str(file))
        self.student = SimpleNamespace(
            score_threshold=0.05,
            max_detections=5,
            dataset=dataset,
            outputs=("square",),
            images=lambda count: self.paths[:count],
        )

    def single_image_batches(self, paths: list[Path]) -> Iterator[tuple[Path, Batch]]:
        sample = SimpleNamespace(metainfo={"ori_shape": (100, 100)})
        for path in paths:
            yield path, Batch(torch.tensor([float(path.stem)]), [sample])

    def eager(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return torch.tensor([TRUTH[int(inputs)]]), torch.zeros(1)

    def post_process(self, raw: tuple[Tensor, ...], batch: Batch) -> list[Detections]:
        return [Detections(raw[0], raw[1].sigmoid(), torch.zeros(len(raw[0]), dtype=torch.long))]


class _DataSet:
    cat_ids = (7,)

    def __init__(self, infos: list[dict[str, Any]], file: str) -> None:
        self._infos, self.ann_file = infos, file

    def __len__(self) -> int:
        return len(self._infos)

    def get_data_info(self, index: int) -> dict[str, Any]:
        return self._infos[index]


@pytest.fixture
def boxes(tmp_path: Path) -> Any:
    return BoxPipeline(tmp_path)


def check(pipeline: Any, backend: str, call: Any, **more: Any) -> dict[str, Any]:
    return check_outputs(pipeline, backend, call, pipeline.paths, **more)


def moved(pipeline: Any, by: float) -> Any:
    return lambda inputs: (pipeline.eager(inputs)[0] + by, pipeline.eager(inputs)[1])


def test_eager_equals_itself_and_finds_every_box(boxes: Any) -> None:
    found = check(boxes, "eager", boxes.eager)
    assert found == {"max_deviation": 0.0, "tolerance": 1e-4, "equal": True, "AP": 1.0, "note": ""}


def test_every_precision_has_a_tolerance() -> None:
    assert {backend.precision for backend in BACKENDS.values()} <= set(parity.TOLERANCES)
    assert parity.tolerance("onnxruntime", torch.device("cpu")) == 1e-4
    assert parity.tolerance("onnxruntime", torch.device("cuda")) == 1e-2  # eager's own convolutions use TF32 there
    assert parity.tolerance("bf16", torch.device("cuda")) == 8e-2


def test_the_ap_is_of_the_artefact_and_never_eagers(boxes: Any) -> None:
    """30 px aside is 30 / 50 of image 0's largest value: beyond int8's tolerance too, and no box overlaps by half."""
    off = check(boxes, "int8", moved(boxes, 30.0))
    assert off["max_deviation"] == pytest.approx(0.6)
    assert (off["equal"], off["AP"]) == (False, 0.0)
    assert off["note"] == "most in output 0 of 0.png"
    # 2 px of 50 and of 90: within int8's tolerance, and yet another AP: IoU 38 x 38 / (2 x 1600 - 38 x 38) = 0.82 and
    # 68 x 28 / (2 x 2100 - 68 x 28) = 0.83, so both count at .50 ... .80, 7 of 10 thresholds.
    near = check(boxes, "int8", moved(boxes, 2.0))
    assert near["max_deviation"] == pytest.approx(2 / 50)
    assert (near["equal"], near["AP"]) == (True, pytest.approx(0.7))


@pytest.mark.parametrize(("by", "equal"), [(0.004, True), (0.006, False)])
def test_the_limit_of_fp32(boxes: Any, by: float, equal: bool) -> None:
    """1e-4 of a largest value of 50 is 0.005."""
    assert check(boxes, "onnxruntime", moved(boxes, by))["equal"] is equal


@pytest.mark.parametrize(
    ("call", "note"),
    [
        (lambda inputs: (torch.zeros(1, 4),), "1 outputs, eager has 2 on 0.png"),
        (lambda inputs: (torch.zeros(2, 4), torch.zeros(1)), r"output 0 is \(2, 4\) torch.float32 on cpu, eager's"),
        (lambda inputs: (torch.zeros(1, 4), torch.zeros(1, dtype=torch.half)), "output 1 is .* torch.float16"),
        (lambda inputs: (torch.full((1, 4), math.nan), torch.zeros(1)), "an output is not finite on 0.png"),
    ],
)  # fmt: skip
def test_another_form_has_no_ap(boxes: Any, call: Any, note: str) -> None:
    found = check(boxes, "fp16", call)
    assert (found["equal"], found["max_deviation"], found["AP"]) == (False, math.inf, None)
    with pytest.raises(AssertionError, match=note):
        raise AssertionError(found["note"])


def test_a_call_that_fails_is_a_reason(boxes: Any) -> None:
    def fails(inputs: Tensor) -> tuple[Tensor, ...]:
        raise RuntimeError("no kernel\nand a long trace")

    assert check(boxes, "fp16", fails)["note"] == "it fails on a real image: RuntimeError: no kernel"


def test_an_ap_that_would_take_too_long_is_not_taken(boxes: Any) -> None:
    found = check(boxes, "fp16", boxes.eager, ap_limit_s=0.0)
    assert (found["equal"], found["AP"]) == (True, None)
    assert found["note"].startswith("AP not taken: 2 images at 0.0 s each")


def test_without_the_data_set_there_is_no_ap(boxes: Any) -> None:
    stray = [Path("elsewhere/0.png")]
    found = check(boxes, "eager", boxes.eager, validation=stray)
    assert (found["equal"], found["AP"]) == (True, None)
    assert found["note"] == "AP not taken: elsewhere/0.png is no image of the config's test data set"


def detections(*rows: tuple[float, float, int]) -> Detections:
    """Boxes of 10 px at x, with score and label."""
    boxes = torch.tensor([[x, 0.0, x + 10, 10.0] for x, _, _ in rows]).reshape(-1, 4)
    return Detections(boxes, torch.tensor([row[1] for row in rows]), torch.tensor([row[2] for row in rows]))


def test_detections_are_compared_in_any_order() -> None:
    some = detections((0, 0.9, 0), (40, 0.8, 1))
    assert parity.deviation_of_detections(some, detections((40, 0.8, 1), (0, 0.9, 0)), side=100) == 0
    assert parity.deviation_of_detections(some, detections((40, 0.8, 1), (1, 0.9, 0)), side=100) == pytest.approx(0.01)
    assert parity.deviation_of_detections(some, detections((40, 0.7, 1), (0, 0.9, 0)), side=100) == pytest.approx(0.1)


def test_a_missing_detection_deviates_by_its_score_above_the_threshold() -> None:
    """A box that falls under the threshold, or out of a full list, was just above it."""
    some, fewer = detections((0, 0.9, 0), (40, 0.06, 1)), detections((0, 0.9, 0))
    assert parity.deviation_of_detections(some, fewer, side=100, threshold=0.05) == pytest.approx(0.01)
    assert parity.deviation_of_detections(fewer, some, side=100, threshold=0.05) == pytest.approx(0.01)
    assert parity.deviation_of_detections(some, detections(), side=100, threshold=0.05) == pytest.approx(0.85)
    assert parity.deviation_of_detections(detections(), detections(), side=100) == 0
    full = detections((0, 0.9, 0), (80, 0.055, 1))
    assert parity.deviation_of_detections(some, full, side=100, threshold=0.05, limit=2) == pytest.approx(0.005)


def test_a_network_with_nms_inside_may_give_another_number_of_boxes(tmp_path: Path) -> None:
    pipeline: Any = BoxPipeline(tmp_path, nms="RPN's")

    def more(inputs: Tensor) -> tuple[Tensor, ...]:
        true_boxes, logits = pipeline.eager(inputs)
        return torch.cat([true_boxes, true_boxes + 3]), torch.cat([logits, torch.tensor([-2.9])])

    found = check(pipeline, "bf16", more)  # sigmoid(-2.9) = 0.052, 0.002 above the threshold
    assert (found["equal"], found["AP"]) == (True, 1.0)
    assert found["max_deviation"] == pytest.approx(0.0022, abs=1e-4)
