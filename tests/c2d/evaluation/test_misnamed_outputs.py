"""Outputs on the boxes of another class, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from c2d.evaluation.class_map import ClassMap, class_lines
from c2d.evaluation.misnamed_outputs import misnamed_outputs


def _case(pairs: list[tuple[int, int]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One image for each (true class, detected class), with one box that is found a little off."""
    boxes = [
        {"image_id": i, "category_id": t, "bbox": [10, 10, 20, 20], "iscrowd": 0} for i, (t, _) in enumerate(pairs)
    ]
    found = [
        {"image_id": i, "category_id": d, "bbox": [11, 10, 20, 20], "score": 0.5} for i, (_, d) in enumerate(pairs)
    ]
    # A better score beside the box: IoU 0, so it counts for none.
    found += [{"image_id": i, "category_id": 1, "bbox": [40, 40, 9, 9], "score": 0.9} for i in range(len(pairs))]
    return {"annotations": boxes}, found


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(1, 1)] * 6 + [(2, 2)] * 6, {}),
        ([(1, 2)] * 6 + [(2, 1)] * 6 + [(3, 3)] * 6, {1: 2, 2: 1}),
        ([(1, 2)] * 6 + [(2, 3)] * 6 + [(3, 1)] * 6, {1: 3, 2: 1, 3: 2}),
        ([(1, 1)] * 6 + [(1, 2)] * 5 + [(2, 2)] * 6 + [(2, 1)] * 5, {}),  # confused, and no pairing is better
        ([(1, 2)] * 2 + [(2, 1)] * 2, {}),  # too few
        ([(1, 2)] * 1 + [(2, 1)] * 1 + [(3, 3)] * 18, {}),  # 2 of 20
    ],
)
def test_pairs_that_name_more_boxes(pairs: list[tuple[int, int]], expected: dict[int, int]) -> None:
    assert misnamed_outputs(*_case(pairs)) == expected


def test_without_detections_there_is_no_sign() -> None:
    truth, _ = _case([(1, 2)] * 20)
    assert misnamed_outputs(truth, []) == {}


def test_the_sign_is_printed() -> None:
    found = ClassMap(("a", "b"), "--classes card", ("a", "b")).to_dict()
    lines = class_lines({**found, "seems_to_be": {"a": "b", "b": "a"}})
    assert "warning: outputs seem to have each other's names: most detections of 'a' on boxes of 'b'" in lines[1]
    assert len(class_lines({**found, "seems_to_be": {}})) == 1
