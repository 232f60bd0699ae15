"""Detections become targets where they overlap nothing; targets that are lost are dropped, one stays."""

from __future__ import annotations

from typing import Any

import torch

from c2d.impressions.sampling.adaptive_targets import Detections, detect_objects, update_targets
from c2d.impressions.sampling.targets import Targets, empty_targets
from c2d.specs.impressions_schedule import AdaptiveSampling
from c2d.teachers.detector import DetectorTeacher
from tests.c2d import tiny_detectors

LEFT, RIGHT, LOW = [0.0, 0.0, 0.4, 0.4], [0.6, 0.0, 1.0, 0.4], [0.0, 0.6, 0.4, 1.0]


def recipe(**changes: Any) -> AdaptiveSampling:
    values: dict[str, Any] = {
        "start": 0, "interval": 1, "min_score": 0.5, "max_iou": 0.2, "min_area": 0.01, "max_area": 0.5,
        "keep_score": 0.3,
    }  # fmt: skip
    return AdaptiveSampling(**(values | changes))


def targets(*boxes: list[float]) -> Targets:
    return Targets(torch.tensor(boxes), torch.zeros(len(boxes), dtype=torch.long), torch.eye(3)[[0] * len(boxes)])


def detections(*rows: tuple[list[float], float, int]) -> Detections:
    boxes = torch.tensor([row[0] for row in rows]).reshape(-1, 4)
    return Detections(boxes, torch.tensor([row[1] for row in rows]), torch.tensor([row[2] for row in rows]).long())


def test_a_clear_detection_that_overlaps_nothing_is_added_with_its_score() -> None:
    found = update_targets(targets(LEFT), detections((LEFT, 0.9, 0), (RIGHT, 0.8, 2)), recipe())
    assert found.boxes.tolist() == torch.tensor([LEFT, RIGHT]).tolist()
    assert found.labels.tolist() == [0, 2]
    assert torch.allclose(found.soft_labels[1], torch.tensor([0.1, 0.1, 0.8]))


def test_a_weak_small_or_overlapping_detection_is_not_added() -> None:
    small, large = [0.9, 0.9, 0.95, 0.95], [0.0, 0.0, 1.0, 1.0]
    for one in ((RIGHT, 0.5, 1), (small, 0.9, 1), (large, 0.9, 1), (LEFT, 0.9, 1)):
        seen = detections((LEFT, 0.95, 0), one)
        assert len(update_targets(targets(LEFT), seen, recipe())) == 1, one
    flat = detections((LEFT, 0.95, 0), ([0.5, 0.9, 0.9, 0.905], 0.9, 1))
    assert len(update_targets(targets(LEFT), flat, recipe(min_area=0.0), min_side=0.0125)) == 1
    assert len(update_targets(targets(LEFT), flat, recipe(min_area=0.0))) == 2


def test_two_detections_of_one_place_add_one_target() -> None:
    seen = detections((LEFT, 0.9, 0), (RIGHT, 0.9, 1), (RIGHT, 0.8, 2))
    assert update_targets(targets(LEFT), seen, recipe()).labels.tolist() == [0, 1]


def test_a_lost_target_is_dropped_and_one_stays() -> None:
    both = targets(LEFT, RIGHT)
    assert update_targets(both, detections((RIGHT, 0.4, 0)), recipe()).boxes.tolist() == torch.tensor([RIGHT]).tolist()
    # Of the wrong class, below the score, or nothing at all: the first stays.
    for seen in (detections((RIGHT, 0.4, 1)), detections((RIGHT, 0.2, 0)), detections()):
        assert len(update_targets(both, seen, recipe())) == 1
    assert len(update_targets(both, detections(), recipe(keep_score=0))) == 2


def test_an_image_without_targets_gets_those_that_are_seen() -> None:
    found = update_targets(empty_targets(3), detections((LOW, 0.9, 1)), recipe())
    assert found.labels.tolist() == [1]
    assert len(update_targets(empty_targets(3), detections(), recipe())) == 0


def test_detections_are_shares_of_the_side_by_falling_score() -> None:
    network: Any = tiny_detectors.build("retinanet")
    teacher = DetectorTeacher(network)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network.test_cfg["score_thr"] = 0.0
    for one in detect_objects(teacher, images):
        assert len(one.boxes) == len(one.scores) == len(one.labels) > 0
        assert bool((one.boxes >= 0).all())
        assert bool((one.boxes <= 1).all())
        assert torch.equal(one.scores, one.scores.sort(descending=True).values)
