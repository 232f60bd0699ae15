"""Pseudo-targets: inside the image, apart, balanced, and the same for (seed, image) whatever the number of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from torchvision.ops import box_iou

from c2d.impressions.sampling import pseudo_targets
from c2d.impressions.sampling.box_prior import box_prior
from c2d.impressions.sampling.class_similarity import class_similarity
from c2d.impressions.sampling.pseudo_targets import balanced_labels, sample_targets
from c2d.impressions.sampling.targets import Targets
from c2d.specs.impressions_schedule import TargetRecipe
from c2d.teachers.detector import DetectorTeacher
from tests.c2d import tiny_detectors

FAMILIES = ("faster", "cascade", "retinanet", "gfl", "fcos", "ssd", "atss")
SIZE = 96
ANCHORS = TargetRecipe(
    objects=(1, 4), boxes="anchors", side=(0.1, 0.8), max_iou=0.2, soft_labels=True, concentration=10.0
)
UNIFORM = TargetRecipe(
    objects=(1, 1), boxes="uniform", side=(0.2, 0.8), max_iou=0.3, soft_labels=False, concentration=10.0
)


def teacher(family: str = "retinanet") -> DetectorTeacher:
    return DetectorTeacher(tiny_detectors.build(family))


@pytest.fixture(scope="module")
def retinanet() -> DetectorTeacher:
    return teacher()


def equal(ours: list[Targets], theirs: list[Targets]) -> bool:
    """Whether all tensors are equal to the last bit."""
    pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(ours, theirs, strict=True)
             for name in ("boxes", "labels", "soft_labels")]  # fmt: skip
    return all(torch.equal(a, b) for a, b in pairs)


def largest_iou(boxes: torch.Tensor) -> float:
    overlap = box_iou(boxes, boxes).fill_diagonal_(0)
    return float(overlap.max()) if len(boxes) else 0.0


@pytest.mark.parametrize("family", FAMILIES)
def test_targets_of_every_family(family: str) -> None:
    found = sample_targets(ANCHORS, 40, teacher(family), SIZE, seed=3)
    assert [len(t) for t in found]
    assert all(1 <= len(t) <= 4 for t in found)
    for targets in found:
        assert targets.boxes.dtype == torch.float32
        assert targets.labels.dtype == torch.long
        assert targets.num_classes == tiny_detectors.NUM_CLASSES
        assert (targets.boxes >= 0).all()
        assert (targets.boxes <= 1).all()
        sides = targets.boxes[:, 2:] - targets.boxes[:, :2]
        assert (sides >= 0.1 - 1e-6).all()
        assert (sides <= 0.8 + 1e-6).all()
        assert largest_iou(targets.boxes) <= 0.2 + 1e-5
        assert torch.allclose(targets.soft_labels.sum(1), torch.ones(len(targets)), atol=1e-6)
        assert torch.equal(targets.soft_labels.argmax(1), targets.labels)


@settings(max_examples=40, deadline=None)
@given(
    objects=st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted),
    side=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    boxes=st.sampled_from(["anchors", "uniform"]),
    max_iou=st.floats(0, 1),
    concentration=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**40),
)
def test_any_recipe(
    retinanet: DetectorTeacher, objects: list[int], side: list[float], boxes: str, max_iou: float,
    concentration: float, seed: int,
) -> None:  # fmt: skip
    given = {"objects": objects, "boxes": boxes, "side": side, "max_iou": max_iou, "soft_labels": True}
    recipe = TargetRecipe.model_validate({**given, "concentration": concentration})
    for targets in sample_targets(recipe, 4, retinanet, SIZE, seed):
        assert min(objects[0], 1) <= len(targets) <= objects[1]
        assert (targets.boxes >= 0).all()
        assert (targets.boxes <= 1).all()
        sides = targets.boxes[:, 2:] - targets.boxes[:, :2]
        assert ((sides > side[0] - 1e-5) & (sides < side[1] + 1e-5)).all()
        assert largest_iou(targets.boxes) <= max_iou + 1e-3  # shares in fp32: a box of 1 % has sides of 1e-5 precision
        assert torch.allclose(targets.soft_labels.sum(1), torch.ones(len(targets)), atol=1e-5)


def test_number_of_objects_is_uniform_and_may_be_none(retinanet: DetectorTeacher) -> None:
    recipe = UNIFORM.model_copy(update={"objects": (0, 3), "side": (0.05, 0.1)})
    found = sample_targets(recipe, 400, retinanet, SIZE, seed=0)
    counts = np.bincount([len(t) for t in found], minlength=4)
    assert counts[0] > 0
    assert chisquare(counts).pvalue > 0.01
    empty = next(t for t in found if not len(t))
    assert empty.boxes.shape == (0, 4)
    assert empty.soft_labels.shape == (0, 3)


def test_labels_are_balanced_at_every_image(retinanet: DetectorTeacher) -> None:
    found = sample_targets(ANCHORS, 101, retinanet, SIZE, seed=1)
    counts = np.zeros(3, int)
    for targets in found:
        counts += np.bincount(targets.labels, minlength=3)
        assert counts.max() - counts.min() <= 1
    assert counts.sum() > 150
    assert chisquare(counts).pvalue > 0.99


def test_each_place_in_the_order_has_every_class_equally_often() -> None:
    first = [int(balanced_labels(0, 1, 4, seed)[0]) for seed in range(400)]
    assert chisquare(np.bincount(first, minlength=4)).pvalue > 0.01
    whole = balanced_labels(0, 11, 4, seed=7)
    assert balanced_labels(3, 5, 4, seed=7).tolist() == whole[3:8].tolist()
    assert sorted(whole[:4]) == sorted(whole[4:8]) == [0, 1, 2, 3]
    assert balanced_labels(4, 0, 4, seed=7).tolist() == []


def test_the_seed_decides_and_the_count_does_not(retinanet: DetectorTeacher) -> None:
    found = sample_targets(ANCHORS, 12, retinanet, SIZE, seed=5)
    torch.manual_seed(99)
    assert equal(sample_targets(ANCHORS, 12, retinanet, SIZE, seed=5), found)
    assert equal(sample_targets(ANCHORS, 5, retinanet, SIZE, seed=5), found[:5])
    assert not equal(sample_targets(ANCHORS, 12, retinanet, SIZE, seed=6), found)
    assert sample_targets(ANCHORS, 0, retinanet, SIZE, seed=5) == []


def test_recipes_with_hard_and_soft_labels_share_boxes_and_labels(retinanet: DetectorTeacher) -> None:
    soft = sample_targets(ANCHORS, 8, retinanet, SIZE, seed=2)
    hard = sample_targets(ANCHORS.model_copy(update={"soft_labels": False}), 8, retinanet, SIZE, seed=2)
    for a, b in zip(soft, hard, strict=True):
        assert torch.equal(a.boxes, b.boxes)
        assert torch.equal(a.labels, b.labels)
        assert torch.equal(b.soft_labels, torch.nn.functional.one_hot(b.labels, 3).float())


def test_uniform_boxes_have_uniform_sides(retinanet: DetectorTeacher) -> None:
    found = sample_targets(UNIFORM, 500, retinanet, SIZE, seed=0)
    boxes = torch.cat([t.boxes for t in found]).numpy()
    for side in (boxes[:, 2:] - boxes[:, :2]).T:
        assert kstest(side, "uniform", args=(0.2, 0.6)).pvalue > 0.01
    places = boxes[:, 0] / (1 - (boxes[:, 2] - boxes[:, 0]))
    assert kstest(places, "uniform").pvalue > 0.01


def test_boxes_of_anchors_are_log_uniform_in_their_range() -> None:
    one = teacher("faster")
    recipe = ANCHORS.model_copy(update={"objects": (1, 1), "side": (0.001, 1.0), "soft_labels": False})
    prior = box_prior(one.network, SIZE)
    boxes = torch.cat([t.boxes for t in sample_targets(recipe, 500, one, SIZE, seed=0)]).double().numpy()
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    for value, (low, high) in ((np.sqrt(width * height), prior.side), (width / height, prior.ratio)):
        assert kstest(np.log(value), "uniform", args=(np.log(low), np.log(high / low))).pvalue > 0.01


def test_a_range_outside_the_allowed_sides_ends_at_their_limit(retinanet: DetectorTeacher) -> None:
    small = ANCHORS.model_copy(update={"side": (0.02, 0.05)})  # anchors begin at 16 px of 96
    for targets in sample_targets(small, 5, retinanet, SIZE, seed=0):
        sides = targets.boxes[:, 2:] - targets.boxes[:, :2]
        assert (sides <= 0.05 + 1e-6).all()
        assert (sides.amax(1) >= 0.05 - 1e-6).all()


def test_a_full_image_gets_fewer_objects_and_never_none(retinanet: DetectorTeacher) -> None:
    recipe = UNIFORM.model_copy(update={"objects": (3, 3), "side": (0.6, 0.7), "max_iou": 0.0})
    found = sample_targets(recipe, 10, retinanet, SIZE, seed=0)  # sides above a half: any two boxes overlap
    assert [len(t) for t in found] == [1] * 10


def test_soft_labels_follow_similar_classes() -> None:
    # Classes 0 and 1 point the same way, class 2 the opposite way.
    one = teacher("faster")
    rows = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0], [5.0, 5.0]])
    network: Any = one.network
    network.roi_head.bbox_head.fc_cls.weight.data[:] = torch.nn.functional.pad(rows, (0, 14))
    found = sample_targets(ANCHORS, 150, one, SIZE, seed=0)
    soft, labels = torch.cat([t.soft_labels for t in found]), torch.cat([t.labels for t in found])
    mean = soft[labels == 0].mean(0)
    assert mean[0] > mean[1] > 0.3
    assert mean[2] < 0.01
    alpha = 10 * class_similarity(one.network).numpy()
    drawn = pseudo_targets._draw_soft_labels(np.zeros(4000, np.int64), alpha, np.random.default_rng(0))
    # The exchange changes which of two entries is larger, not their sum: the mean of a Dirichlet is alpha / sum.
    expected = np.maximum(alpha[0], 0.01) / np.maximum(alpha[0], 0.01).sum()
    assert drawn[:, :2].sum(1).mean() == pytest.approx(expected[:2].sum(), abs=1e-3)


def test_more_concentration_is_closer_to_the_similarity() -> None:
    one = teacher("retinanet")
    spread = []
    for concentration in (1.0, 100.0):
        found = sample_targets(ANCHORS.model_copy(update={"concentration": concentration}), 60, one, SIZE, seed=0)
        soft, labels = torch.cat([t.soft_labels for t in found]), torch.cat([t.labels for t in found])
        spread.append(float(soft[labels == 0, 0].std()))
    assert spread[1] < spread[0] / 2
