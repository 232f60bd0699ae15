"""The evaluation benchmark on a set of 24 images: both sides, their agreement, the command."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suite import evaluation_speed, synthetic_dataset
from benchmarks.suite.synthetic_dataset import synthetic_coco, with_polygons
from c2d.core.errors import InputError, RunError


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return evaluation_speed.measure_evaluation(tmp_path_factory.mktemp("made"), 24, resamples=100)


def test_both_sides_are_measured_and_agree(record: dict[str, Any]) -> None:
    (found,) = record["rounds"]
    assert record["parity"]["ok"]
    assert evaluation_speed.differences(found)["AP"] < 1e-9
    # tidecv prints means over all classes that have detections; `parity` has compared like with like.
    assert evaluation_speed.differences(found)["dAP"] < 0.05
    assert found["c2d"]["AP50"] == pytest.approx([found["c2d"]["AP50"][0]] * 3, abs=1e-12)
    assert found["c2d"]["bootstrap"]["difference"] == pytest.approx(found["c2d"]["bootstrap"]["hotcoco"], abs=1e-12)
    assert set(evaluation_speed.OUR_PHASES) <= set(found["c2d"]["laps_s"])
    assert set(evaluation_speed.REFERENCE_PHASES) <= set(found["reference"]["laps_s"])
    assert all(wall >= 0 and cpu >= 0 for one in found.values() for wall, cpu in one["laps_s"].values())
    assert found["c2d"]["peak_mib"] > 20


def test_the_table(record: dict[str, Any]) -> None:
    text = evaluation_speed.markdown(record)
    assert text.startswith("24 images, 168 objects, 2304 detections; 1 rounds")
    (found,) = record["rounds"]
    theirs = evaluation_speed.cpu_s(found["reference"], evaluation_speed.REFERENCE_PHASES)
    ours = evaluation_speed.cpu_s(found["c2d"], evaluation_speed.OUR_PHASES)
    assert f"take {theirs / ours:.1f} times the CPU seconds" in text
    assert "hotcoco" in text
    assert text.count(" agree: ") == 2


def test_cpu_seconds_of_phases() -> None:
    found = {"laps_s": {"a": [9.0, 1.5], "b": [9.0, 0.25], "c": [9.0, 7.0]}}
    assert evaluation_speed.cpu_s(found, ("a", "b")) == 1.75


def test_laps_are_since_the_last_lap() -> None:
    timer = evaluation_speed.LapTimer()
    sum(range(2_000_000))
    timer.lap("first")
    timer.lap("nothing")
    assert timer.laps_s["first"][1] > 10 * timer.laps_s["nothing"][1]


def test_synthetic_files(tmp_path: Path) -> None:
    targets, one, other = synthetic_dataset.write_synthetic_files(tmp_path, 3, compressed=True)
    assert len(json.loads(targets.read_text())["annotations"]) == 3 * synthetic_dataset.OBJECTS
    a, b = (json.loads(path.read_text()) for path in (one, other))
    assert len(a) == 3 * synthetic_dataset.DETECTIONS
    assert [x["bbox"] for x in a] == [x["bbox"] for x in b]
    assert [x["score"] for x in a] != [x["score"] for x in b]
    assert gzip.decompress(one.with_suffix(".json.gz").read_bytes()) == one.read_bytes()


def test_polygons_are_boxes_and_ids_begin_with_one() -> None:
    targets = with_polygons(synthetic_coco(2, 3, 2, 1)[0])
    assert min(one["id"] for one in targets["annotations"]) == 1
    x, y, w, h = targets["annotations"][0]["bbox"]
    assert targets["annotations"][0]["segmentation"] == [[x, y, x + w, y, x + w, y + h, x, y + h]]


def test_too_few_images_and_a_side_that_fails(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give 20 or more"):
        evaluation_speed.measure_evaluation(tmp_path, 5)
    with pytest.raises(RunError, match=re.escape("the side parity of the evaluation benchmark failed")):
        evaluation_speed.run_side("parity", [tmp_path / "none.json", tmp_path / "none.json"])
