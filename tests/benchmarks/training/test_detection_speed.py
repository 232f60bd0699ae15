"""The detection benchmark on three images: both sides find the same, and the table is computed from the rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.training.detection_speed import markdown, measure_detection
from c2d.core.errors import InputError


def test_both_sides_detect_the_same(tmp_path: Path) -> None:
    """mmengine's own test loop finds what ours finds, to the last bit."""
    [record] = measure_detection(tmp_path, "faster-rcnn-qr18", 3, 64, [0], rounds=1, threads=1)
    assert record["equal"]
    assert record["detections"] > 3
    assert (record["images"], record["workers"], len(record["rounds"])) == (3, 0, 1)
    assert all(seconds > 0 for side in record["rounds"][0].values() for seconds in side.values())
    with pytest.raises(InputError, match="0 images; give 1 or more"):
        measure_detection(tmp_path, "retinanet-qr18", 0, 64, [0], rounds=1, threads=1)


def test_the_table_takes_ratios_round_by_round() -> None:
    rounds = [
        {"ours": {"wall_s": ours, "cpu_s": 2 * ours}, "mmengine": {"wall_s": other, "cpu_s": 4 * other}}
        for ours, other in ((1.0, 2.0), (3.0, 2.0), (4.0, 4.0))
    ]
    record = {"student": "s", "images": 5, "workers": 1, "equal": False, "rounds": rounds}
    assert markdown([record]).splitlines()[-1] == (
        "| s | 5 | 1 | 3.00 | 2.00 | 1.00 (0.50 to 1.50) | 6.00 | 8.00 | 0.50 (0.25 to 0.75) | NO |"
    )
